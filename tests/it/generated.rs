//! The man pages and completions are generated from the one definition of the command line. The
//! copies in the repository, which packages install, must be fresh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use socket_activate_echo::address::{KINDS, Kind, Transport};
use socket_activate_echo::cli::Cli;

use crate::kit::{self, Dir};
use crate::{faults, programs};

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
pub(crate) fn generated() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    files.insert("docs/clients.md".into(), programs::page().into_bytes());
    files.insert("docs/faults.md".into(), faults::page::text().into_bytes());
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
    let text = text.replace(&PROGRAM.replace('-', "__subcmd__"), &PROGRAM.replace('-', "__"));
    // Behind two colons, zsh offers no flags after the first address.
    let text =
        text.replace("'*::addresses ", "'*:addresses ").replace("'*::targets ", "'*:targets ");
    let begin = "    COMPREPLY=()\n";
    let text = text.replacen(begin, &format!("{begin}{}", bash_addresses()), 1);
    let text = if shell == Shell::Fish { text + &fish_addresses() } else { text };
    text.into_bytes()
}

/// What begins an address in which nothing is a path, for a regular expression.
fn without_path() -> String {
    let has_no_path =
        |kind: &&Kind| matches!(kind.transport, Transport::Inet(_) | Transport::Vsock(_));
    let schemes: Vec<_> = KINDS.iter().filter(has_no_path).map(|kind| kind.scheme).collect();
    format!("^([^:]*=)?({}):", schemes.join("|"))
}

/// fish takes what follows a colon for a file.
fn fish_addresses() -> String {
    let condition = format!(
        "string match --quiet --regex \"{}\" -- (commandline --current-token --cut-at-cursor)",
        without_path()
    );
    ["-f", "-s l -l listen -r -f"]
        .map(|what| format!("complete -c {PROGRAM} -n '{condition}' {what}\n"))
        .concat()
}

/// readline breaks words at colons (COMP_WORDBREAKS), so what follows the one of an address looks
/// like a word of its own, and flags would be offered in its place.
fn bash_addresses() -> String {
    format!(
        r#"
    # Nothing but the path of a socket can be completed in an address.
    local word="${{COMP_LINE:0:COMP_POINT}}"
    word="${{word##*[[:space:]]}}"
    if [[ "${{word}}" == *:* ]] ; then
        if [[ "${{word}}" =~ {} ]] ; then
            compopt +o bashdefault +o default
        fi
        return 0
    fi

"#,
        without_path()
    )
}

/// A man page: what clap_mangen makes of the flags, and the sections at the end of `--help`.
fn page(command: &Command, name: &str, verbs: &[String]) -> Vec<u8> {
    let sections = command.get_after_long_help().expect("sections").to_string();
    // clap_mangen takes what is hidden from `-h` to be hidden from the page.
    let command = command.clone().mut_args(|argument| argument.hide_short_help(false));
    let command = command.display_name(name.to_owned());
    let man = Man::new(command.clone());
    // clap_mangen leaves an empty date out, and the source would take its place.
    let title = name.to_uppercase();
    let source = concat!("socket\\-activate\\-echo ", env!("CARGO_PKG_VERSION"));
    let mut text =
        format!(".TH \"{}\" \"1\" \"\" \"{source}\" \"Commands\"\n", escape(&title)).into_bytes();
    // Names of programs and files are not to be hyphenated.
    text.extend(b".nh\n.ad l\n");
    man.render_name_section(&mut text).expect("a name");
    text.extend(synopsis(&command).bytes());
    man.render_description_section(&mut text).expect("a description");
    text.extend(options(&man).bytes());
    if command.has_subcommands() {
        text.extend(verb_list(&command).bytes());
    }
    let mut sections = split_sections(&sections);
    // The order of man-pages(7), for what that knows.
    let order = ["Exit status", "Environment", "Examples"];
    sections.sort_by_key(|(title, _)| order.iter().position(|known| title == known));
    for (title, body) in sections {
        text.extend(section(&title.to_uppercase(), &body).bytes());
    }
    text.extend(see_also(name, verbs).bytes());
    text
}

fn verb_list(command: &Command) -> String {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    let entries = verbs.map(|verb| {
        let about = verb.get_about().expect("it has a summary").to_string();
        format!(".TP 10\n\\fB{}\\fR\n{}\n", verb.get_name(), escape(&about))
    });
    format!(".SH \"VERBS\"\n{}", entries.collect::<String>())
}

/// Each flag with its value, which clap_mangen leaves out.
fn synopsis(command: &Command) -> String {
    let name = escape(command.get_bin_name().unwrap_or(PROGRAM));
    let mut roff = String::from(".SH SYNOPSIS\n");
    let mut line = |parts: &[String]| {
        roff.push_str(&format!(".HP 4\n\\fB{name}\\fR {}\n", parts.join("\n")));
    };
    let mut arguments: Vec<_> = command.get_arguments().filter(|flag| !is_alone(flag)).collect();
    arguments.sort_by_key(|argument| argument.is_positional());
    line(&arguments.into_iter().map(form).collect::<Vec<_>>());
    if command.has_subcommands() {
        line(&["\\fIVERB\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]".to_owned()]);
    }
    if command.get_arguments().any(|argument| argument.get_id() == "generate") {
        line(&["\\fB\\-\\-generate\\fR \\fIDIR\\fR".to_owned()]);
    }
    roff
}

/// Whether a flag has no place beside the others.
fn is_alone(argument: &Arg) -> bool {
    ["help", "version", "generate"].contains(&argument.get_id().as_str())
}

/// `[-l ADDR]...`, in which nothing breaks at a space.
fn form(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = argument.get_long().map(|long| format!("\\fB{}\\fR", escape(&format!("--{long}"))));
    let takes_value = argument.get_action().takes_values();
    let value = argument.get_value_names().filter(|_| takes_value).map(|names| names.join(" "));
    let value = value.map(|value| format!("\\fI{}\\fR", escape(&value)));
    let words: Vec<_> = short.or(long).into_iter().chain(value).collect();
    let repeated = matches!(argument.get_action(), ArgAction::Append);
    format!("[{}]{}", words.join("\\ "), if repeated { "...\\&" } else { "" })
}

/// The flags, without angle brackets: what stands for something is in italics.
fn options(man: &Man) -> String {
    let mut roff = Vec::new();
    man.render_options_section(&mut roff).expect("options");
    let roff = String::from_utf8(roff).expect("text");
    roff.replace("\\fI<", "\\fI").replace(">\\fR", "\\fR")
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
fn man_pages_have_no_error_for_groff_and_no_long_line() {
    let test = "man_pages_have_no_error_for_groff_and_no_long_line";
    if !kit::has_tool("groff", test) {
        return;
    }
    let dir = Dir::new();
    let pages = generated().into_iter().filter(|(path, _)| path.starts_with("docs/man"));
    for (path, text) in pages {
        let file = dir.path("page");
        std::fs::write(&file, text).expect("write");
        let mut groff = kit::clean("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&file);
        let finished = kit::run(&mut groff).expect_code(0);
        assert_eq!(finished.stderr, "", "{}", path.display());
        // As man(1) shows it in a terminal of 80 columns.
        let mut groff = kit::clean("groff");
        groff.args(["-man", "-Tutf8", "-rLL=78n", "-P-cbou"]).arg(&file);
        let shown = kit::run(&mut groff).expect_code(0).stdout;
        let long: Vec<_> = shown.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{}: {long:#?}", path.display());
    }
}
