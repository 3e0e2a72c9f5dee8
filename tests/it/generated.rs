//! The man pages and completions are made from the one definition of the command line. The copies
//! in the repository, which packages install, have to be fresh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use socket_activate_echo::cli::Cli;
use socket_activate_echo::error::ErrorKind;

use crate::kit::{self, Dir};
use crate::programs;

const PROGRAM: &str = "socket-activate-echo";

/// What packages call them, so that a shell finds them by the name of the program.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "socket-activate-echo.bash"),
    (Shell::Zsh, "_socket-activate-echo"),
    (Shell::Fish, "socket-activate-echo.fish"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every generated file: its path in the repository and what it has to contain.
fn generated() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    files.insert("docs/clients.md".into(), programs::page().into_bytes());
    let mut program = Cli::command();
    program.build();
    for (shell, name) in COMPLETIONS {
        files.insert(Path::new("completions").join(name), completions(shell));
    }
    let verbs: Vec<_> = program.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let verbs: Vec<_> = verbs.into_iter().filter(|verb| verb != "help").collect();
    let man = |name: &str| Path::new("docs/man").join(format!("{name}.1"));
    files.insert(man(PROGRAM), page(&program, PROGRAM, &verbs));
    for verb in &verbs {
        let command = program.find_subcommand(verb).expect("a verb").clone();
        let name = format!("{PROGRAM}-{verb}");
        files.insert(man(&name), page(&command, &name, &verbs));
    }
    files
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), PROGRAM, &mut text);
    // clap_complete 4.6 writes the hyphens of the program's name in two ways in its script for
    // bash, so that no flag of a verb is offered.
    let text = String::from_utf8(text).expect("text");
    text.replace(&PROGRAM.replace('-', "__subcmd__"), &PROGRAM.replace('-', "__")).into_bytes()
}

/// A man page: what clap_mangen makes of the flags, and the sections at the end of `--help`.
fn page(command: &Command, name: &str, verbs: &[String]) -> Vec<u8> {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let sections = help.map(ToString::to_string).unwrap_or_default();
    let command = command.clone().display_name(name.to_owned());
    let man = Man::new(command.clone());
    // clap_mangen leaves an empty date out, and the source would take its place.
    let title = name.to_uppercase();
    let source = concat!("socket\\-activate\\-echo ", env!("CARGO_PKG_VERSION"));
    let mut text =
        format!(".TH \"{}\" \"1\" \"\" \"{source}\" \"User Commands\"\n", escape(&title))
            .into_bytes();
    // Names of programs and files are not to be hyphenated.
    text.extend(b".nh\n.ad l\n");
    man.render_name_section(&mut text).expect("a name");
    man.render_synopsis_section(&mut text).expect("a synopsis");
    man.render_description_section(&mut text).expect("a description");
    man.render_options_section(&mut text).expect("options");
    if command.has_subcommands() {
        text.extend(section("VERBS", &verb_list(&command)).bytes());
    }
    for (title, body) in split_sections(&sections) {
        text.extend(section(&title.to_uppercase(), &body).bytes());
    }
    if !sections.contains("Exit status:") {
        text.extend(section("EXIT STATUS", &exit_statuses()).bytes());
    }
    text.extend(see_also(name, verbs).bytes());
    text
}

fn verb_list(command: &Command) -> String {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    let lines = verbs.map(|verb| {
        format!("  {:<9} {}\n", verb.get_name(), verb.get_about().expect("it has a summary"))
    });
    lines.collect()
}

fn exit_statuses() -> String {
    let mut text = String::from("    0  success\n");
    for (kind, meaning) in ErrorKind::ALL {
        text.push_str(&format!("  {:>3}  {meaning}\n", kind.exit_status()));
    }
    text
}

/// The sections of a help text: a title ends with a colon, alone on its line, not indented.
fn split_sections(help: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        match line.strip_suffix(':') {
            Some(title) if !title.starts_with(' ') => {
                sections.push((title.to_owned(), String::new()));
            }
            _ => {
                let (_, body) = sections.last_mut().expect("a help text begins with a title");
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    sections
}

/// A section in roff: indented lines as they are, the rest as paragraphs.
fn section(title: &str, body: &str) -> String {
    let mut roff = format!(".SH \"{title}\"\n");
    let mut verbatim = false;
    for line in body.trim_end().lines() {
        let indented = line.starts_with(' ');
        if indented != verbatim && !line.is_empty() {
            roff.push_str(if indented { ".nf\n" } else { ".fi\n.PP\n" });
            verbatim = indented;
        }
        match line {
            "" if verbatim => roff.push('\n'),
            "" => roff.push_str(".PP\n"),
            _ => {
                roff.push_str(&escape(line.strip_prefix("  ").unwrap_or(line)));
                roff.push('\n');
            }
        }
    }
    if verbatim {
        roff.push_str(".fi\n");
    }
    roff
}

/// A minus sign is one that can be pasted into a shell; a leading period or quote is no request.
fn escape(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

fn see_also(name: &str, verbs: &[String]) -> String {
    let ours = std::iter::once(PROGRAM.to_owned())
        .chain(verbs.iter().map(|verb| format!("{PROGRAM}-{verb}")))
        .filter(|page| page != name)
        .map(|page| (page, 1));
    let others = [
        ("systemd-socket-activate", 1),
        ("systemctl", 1),
        ("sd_listen_fds", 3),
        ("sd_notify", 3),
        ("systemd.socket", 5),
        ("unix", 7),
        ("vsock", 7),
    ];
    let pages: Vec<_> = ours
        .chain(others.map(|(page, section)| (page.to_owned(), section)))
        .map(|(page, section)| format!("\\fB{}\\fR({section})", escape(&page)))
        .collect();
    format!(".SH \"SEE ALSO\"\n{}\n", pages.join(",\n"))
}

#[test]
fn the_committed_copies_are_fresh() {
    let update = std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    let files = generated();
    for (path, text) in &files {
        let committed = root().join(path);
        if std::fs::read(&committed).is_ok_and(|old| old == *text) {
            continue;
        }
        if update {
            std::fs::create_dir_all(committed.parent().expect("a folder")).expect("mkdir");
            std::fs::write(&committed, text).expect("write");
        } else {
            stale.push(path.display().to_string());
        }
    }
    for folder in ["docs/man", "completions"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("the folder") {
            let path = Path::new(folder).join(entry.expect("an entry").file_name());
            if files.contains_key(&path) {
                continue;
            }
            if update {
                std::fs::remove_file(root().join(&path)).expect("remove");
            } else {
                stale.push(format!("{} (no longer generated)", path.display()));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {}; run `UPDATE_GENERATED=1 cargo test --test it generated` and commit the result",
        stale.join(", ")
    );
}

#[test]
fn man_pages_have_no_error_for_groff() {
    let test = "man_pages_have_no_error_for_groff";
    if !kit::has_tool("groff", test) {
        return;
    }
    let dir = Dir::new();
    let pages = generated().into_iter().filter(|(path, _)| path.starts_with("docs/man"));
    for (path, text) in pages {
        let file = dir.path("page");
        std::fs::write(&file, text).expect("write");
        let mut groff = kit::clean("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(file);
        let finished = kit::run(&mut groff).expect_code(0);
        assert_eq!(finished.stderr, "", "{}", path.display());
    }
}

#[test]
fn each_shell_reads_its_completions() {
    let test = "each_shell_reads_its_completions";
    let dir = Dir::new();
    for (shell, name) in COMPLETIONS {
        let file = dir.path(name);
        std::fs::write(&file, completions(shell)).expect("write");
        let shell = shell.to_string();
        if kit::has_tool(&shell, test) {
            let finished = kit::run(kit::clean(&shell).arg("-n").arg(file)).expect_code(0);
            assert_eq!(finished.stderr, "", "{name}");
        }
    }
}

/// What the user types up to the tab, and a word that bash has to offer.
#[test]
fn bash_completes_verbs_and_flags() {
    let test = "bash_completes_verbs_and_flags";
    if !kit::has_tool("bash", test) {
        return;
    }
    let dir = Dir::new();
    let script = dir.path("completions");
    std::fs::write(&script, completions(Shell::Bash)).expect("write");
    for (words, offered) in [
        (&["act"][..], "activate"),
        (&["probe", "--inter"], "--interactive"),
        (&["activate", "--fd"], "--fdname"),
        (&["--sdn"], "--sdnotify"),
    ] {
        let line = format!(
            "source '{}'; COMP_WORDS=({PROGRAM} {}); COMP_CWORD={}; \
             spec=$(complete -p {PROGRAM}); spec=${{spec#*-F }}; \
             ${{spec%% *}} {PROGRAM} '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words.len(),
            words[words.len() - 1]
        );
        let finished = kit::run(kit::clean("bash").args(["-c", &line])).expect_code(0);
        assert!(finished.stdout.lines().any(|word| word == offered), "{}", finished.describe());
    }
}
