//! The help: `-h` fits on a screen, and `--help` has the rest.

use clap::CommandFactory;
use socket_activate_echo::cli::Cli;

use crate::kit::{clean, has_tool, program, program_path, run};

const LINES: usize = 24;
const COLUMNS: usize = 80;

/// The program itself, and each of its verbs.
fn verbs() -> Vec<String> {
    let program = Cli::command();
    let names = program.get_subcommands().map(|verb| verb.get_name().to_owned());
    std::iter::once(String::new()).chain(names).collect()
}

#[track_caller]
fn expect_columns(what: &str, text: &str) {
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > COLUMNS).collect();
    assert!(long.is_empty(), "{what}: {long:#?}");
}

#[test]
fn the_summary_of_each_verb_fits_a_screen() {
    for verb in verbs() {
        for columns in [None, Some("80"), Some("200")] {
            let mut command = program();
            command.args(verb.split_whitespace()).arg("-h").env_remove("COLUMNS");
            command.envs(columns.map(|columns| ("COLUMNS", columns)));
            let summary = run(&mut command).expect_code(0).stdout;
            let what = format!("{verb} -h, COLUMNS {columns:?}:\n{summary}");
            assert!(summary.lines().count() <= LINES, "{what}");
            expect_columns(&what, &summary);
            let last = summary.lines().last().unwrap_or_default();
            assert!(last.starts_with("--help has all flags, examples"), "{what}");
        }
    }
}

#[test]
fn the_summary_of_each_verb_fits_a_terminal() {
    if !has_tool("script", "the_summary_of_each_verb_fits_a_terminal") {
        return;
    }
    for verb in verbs() {
        let line = format!("stty cols 80 rows 24; exec {} {verb} -h", program_path());
        let mut script = clean("script");
        script
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh");
        let shown = run(script.env_remove("COLUMNS")).expect_code(0).stdout;
        assert!(shown.contains("Usage: "), "{verb}: {shown}");
        assert!(shown.lines().count() <= LINES, "{verb}: {shown}");
        expect_columns(&verb, &shown);
    }
}

#[test]
fn the_whole_help_of_each_verb_has_no_line_that_wraps() {
    let mut definition = Cli::command();
    definition.build();
    for verb in verbs() {
        let help = run(program().args(verb.split_whitespace()).arg("--help")).expect_code(0).stdout;
        expect_columns(&verb, &help);
        let command = definition.find_subcommand(&verb).unwrap_or(&definition);
        let after = command.get_after_long_help().expect("sections").to_string();
        assert!(help.contains(&after), "{verb}: a line of the sections is wrapped:\n{help}");
        for section in ["\nUsage: ", "\nExamples:\n", "\nExit status:\n    0  success\n"] {
            assert!(help.contains(section), "{verb} has no{section}{help}");
        }
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(help.contains(&format!("--{flag}")), "{verb}: --{flag} is missing");
        }
    }
}

/// A command line that is refused, and the one that was meant.
#[test]
fn what_was_meant_is_told() {
    for (typed, meant) in [
        (
            "serve -l tcp:127.0.0.1:80",
            "from the activator; bind with `activate -l tcp:127.0.0.1:80`",
        ),
        ("-l 80", "from the activator; bind with `activate -l tcp:127.0.0.1:80`"),
        ("--listen=tcp:[::]:80", "bind with `activate -l 'tcp:[::]:80'`"),
        ("-d --port 80", "bind with `activate -l tcp:127.0.0.1:80`"),
        ("-p80", "bind with `activate -l tcp:127.0.0.1:80`"),
        ("serve --bind", "bind with `activate -l ADDR`"),
        ("serve unix:/s", "bind with `activate -l unix:/s`"),
        ("activate --port 80", "bind with `activate -l tcp:127.0.0.1:80`"),
        (
            "inspect -l unix:/s",
            "bind with `activate --now -l unix:/s socket-activate-echo inspect`",
        ),
        ("probe -l tcp:127.0.0.1:80", "write the address without a flag: `probe tcp:127.0.0.1:80`"),
        ("bench -d 1 --listen 80", "write the address without a flag: `bench tcp:127.0.0.1:80`"),
        ("tcp:127.0.0.1:80", "to send there, write `probe tcp:127.0.0.1:80`"),
        ("localhost:80", "to send there, write `probe tcp:localhost:80`"),
        ("/tmp/\u{1b}c", "to send there, write `probe 'unix:/tmp/\\x1bc'`"),
        ("unix:/a;id", "to send there, write `probe 'unix:/a;id'`"),
        ("activate --port unix:/$(id)", "bind with `activate -l 'unix:/$(id)'`"),
        ("serv", "tip: a similar subcommand exists: 'serve'; see --help"),
        ("probe --cuont 3", "tip: a similar argument exists: '--count'; see --help"),
        ("nothing", "unrecognized subcommand 'nothing'; see --help"),
    ] {
        let finished = run(program().args(typed.split(' '))).expect_code(2);
        let line = finished.stderr.trim_end();
        assert!(line.ends_with(meant), "{typed}: {line}");
        assert!(!line.contains(['\n', '\u{1b}']), "{typed}: {line:?}");
    }
}
