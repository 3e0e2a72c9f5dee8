//! `--generate` writes the generated files to where man and the shells look for them, and they find
//! them there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::generated::generated;
use crate::kit::{Dir, Process, clean, files, has_tool, not_run, program, program_path, run};
use crate::page::readme;

/// A home with the files below ~/.local/share, and ~/.local/bin with the program.
fn home() -> Dir {
    let home = Dir::new();
    let bin = home.path(".local/bin");
    fs::create_dir_all(&bin).expect("mkdir");
    std::os::unix::fs::symlink(program_path(), bin.join("socket-activate-echo")).expect("symlink");
    let command = readme("socket-activate-echo --generate ~/.local/share").command;
    run(in_home(&home, "bash").args(["-c", &command])).expect_code(0);
    home
}

/// A program that knows nothing but this home.
fn in_home(home: &Dir, program: &str) -> Command {
    let mut command = clean(program);
    let path = std::env::var("PATH").expect("PATH");
    let bin = home.path(".local/bin").display().to_string();
    command.env("PATH", format!("{bin}:{path}")).env("HOME", home.path("")).env("TERM", "dumb");
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MANPATH", "FPATH"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn what_is_written_is_what_is_generated() {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        // The program of this run still has the texts of before.
        return;
    }
    let dir = Dir::new();
    let folder = dir.path("new/share");
    let finished = run(program().arg("--generate").arg(&folder)).expect_code(0);
    let mut expected = BTreeMap::new();
    for (path, text) in generated() {
        let name = path.file_name().expect("a name").to_str().expect("text");
        let below = match path.parent().and_then(Path::to_str) {
            Some("docs/man") => format!("man/man1/{name}"),
            Some("completions") if name.starts_with('_') => format!("zsh/site-functions/{name}"),
            Some("completions") => match name.strip_suffix(".bash") {
                Some(name) => format!("bash-completion/completions/{name}"),
                None => format!("fish/vendor_completions.d/{name}"),
            },
            _ => continue,
        };
        let line = folder.join(&below).display().to_string();
        assert!(finished.stdout.lines().any(|shown| shown == line), "{}", finished.describe());
        expected.insert(PathBuf::from(below), text);
    }
    let below = |path: &Path| path.strip_prefix(&folder).expect("below it").to_owned();
    let written =
        files(&folder).into_iter().map(|path| (below(&path), fs::read(path).expect("read")));
    let written: BTreeMap<_, _> = written.collect();
    assert!(written == expected, "{:?} differ from {:?}", written.keys(), expected.keys());
    // A second time it writes over them.
    run(program().arg("--generate").arg(&folder)).expect_code(0);
}

#[test]
fn what_was_there_is_replaced_and_not_written_to() {
    let dir = Dir::new();
    let pages = dir.path("share/man/man1");
    fs::create_dir_all(&pages).expect("mkdir");
    let target = dir.path("target");
    fs::write(&target, "kept").expect("write");
    std::os::unix::fs::symlink(&target, pages.join("socket-activate-echo.1")).expect("symlink");
    fs::hard_link(&target, pages.join("socket-activate-echo-bench.1")).expect("link");
    let fifo = pages.join("socket-activate-echo-probe.1");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("mknod");
    run(program().arg("--generate").arg(dir.path("share"))).expect_code(0);
    assert_eq!(fs::read_to_string(&target).expect("read"), "kept");
    for page in fs::read_dir(&pages).expect("a folder") {
        let page = page.expect("an entry");
        assert!(page.file_type().expect("a type").is_file(), "{page:?}");
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let dir = Dir::new();
    let file = dir.path("file");
    fs::write(&file, "").expect("write");
    let taken = dir.path("taken/man/man1/socket-activate-echo.1");
    fs::create_dir_all(&taken).expect("mkdir");
    for (folder, parts) in [
        (file, &["create the folder", "/file/man/man1: Not a directory; name a folder"][..]),
        ("/proc/no".into(), &["create the folder /proc/no/man/man1: ", "; name a folder"]),
        (dir.path("taken"), &["write ", "socket-activate-echo.1: Is a directory"]),
        (dir.path("a\u{1b}\0b".split('\0').next().unwrap_or_default()), &[]),
    ] {
        let finished = run(program().arg("--generate").arg(folder));
        let finished = finished.expect_code(i32::from(!parts.is_empty())).expect_stderr(parts);
        assert!(!finished.stdout.contains('\u{1b}'), "{}", finished.describe());
        let for_shells = ["export MANPATH=$'/", "source $'/", "fpath=($'/"];
        let is_quoted = for_shells.iter().all(|word| finished.stdout.contains(word));
        assert!(is_quoted || !parts.is_empty(), "{}", finished.describe());
    }
    for args in [&["--generate"][..], &["--generate", "x", "-d"], &["--generate", "x", "serve"]] {
        run(program().args(args)).expect_code(2).expect_stderr(&["--generate"]);
    }
}

#[test]
fn man_finds_the_pages() {
    if !has_tool("man", "man_finds_the_pages") {
        return;
    }
    let home = home();
    let man = home.path(".local/share/man");
    let without_bin = std::env::var("PATH").expect("PATH");
    for page in generated().into_keys().filter(|path| path.starts_with("docs/man")) {
        let name = page.file_stem().expect("a name");
        let found = man.join("man1").join(page.file_name().expect("a name"));
        let found = format!("{}\n", found.display());
        // By PATH, by MANPATH, and by both ways without the other.
        let mut by_path = in_home(&home, "man");
        let mut by_manpath = in_home(&home, "man");
        by_manpath.env("PATH", &without_bin).env("MANPATH", format!("{}:", man.display()));
        for command in [&mut by_path, &mut by_manpath] {
            let finished = run(command.arg("--where").arg(name)).expect_code(0);
            assert_eq!(finished.stdout, found, "{}", finished.describe());
        }
    }
}

/// How an interactive shell is started, and what it needs to be told.
struct Shell {
    name: &'static str,
    start: &'static str,
    setup: &'static str,
}

const BASH: Shell = Shell {
    name: "bash",
    start: "bash --noprofile --norc -i",
    setup: "source ~/.local/share/bash-completion/completions/socket-activate-echo",
};
const BASH_WITH_PACKAGE: Shell = Shell {
    name: "bash",
    start: "bash --noprofile --norc -i",
    setup: "source /usr/share/bash-completion/bash_completion",
};
const ZSH: Shell = Shell {
    name: "zsh",
    start: "zsh -f -i",
    setup: "bindkey -e; setopt nonomatch; fpath=(~/.local/share/zsh/site-functions $fpath); \
            autoload -U compinit; compinit -u -D",
};
const FISH: Shell = Shell { name: "fish", start: "fish -i", setup: "" };

/// Types `typed` into an interactive shell on a terminal of its own, then a tab, and tells the words
/// that the line has then.
fn completed(home: &Dir, shell: &Shell, typed: &str) -> String {
    let mut command = in_home(home, "script");
    command.args(["--quiet", "--return", "--command", shell.start, "/dev/null"]);
    command.current_dir(home.path("")).stdin(Stdio::piped()).env("SHELL", "/bin/sh");
    let mut process = Process::start(&mut command);
    process.write(format!("{}\nprintf 'is%s\\n' ready\n", shell.setup).as_bytes());
    process.stdout_line("isready").expect("a shell");
    // To the begin of the line, where a command shows its words, and to the end for a newline.
    let keys = format!("{typed}\t\u{1}printf '<%s>' : \u{5}; echo\nexit\n");
    process.write(keys.as_bytes());
    let shown = process.stdout_line("<:><").expect("the words");
    process.finish();
    shown.rsplit("<:>").next().unwrap_or_default().to_owned()
}

/// What is typed, and the words that it has become after a tab.
#[test]
fn a_tab_completes_flags_and_leaves_addresses_alone() {
    let home = home();
    fs::write(home.path("only-file"), "").expect("write");
    let test = "a_tab_completes_flags_and_leaves_addresses_alone";
    for shell in [BASH, BASH_WITH_PACKAGE, ZSH, FISH] {
        if !has_tool(shell.name, test) || !has_tool("script", test) {
            continue;
        }
        let package = Path::new("/usr/share/bash-completion/bash_completion");
        if shell.setup == BASH_WITH_PACKAGE.setup && !package.exists() {
            not_run(test, "the package bash-completion is not installed", true);
            continue;
        }
        for (typed, words) in [
            ("probe --inter", "<probe><--interactive>"),
            ("act", "<activate>"),
            ("activate --fd", "<activate><--fdname>"),
            ("--sdn", "<--sdnotify>"),
            ("probe tcp:", "<probe><tcp:>"),
            ("probe tcp:127.0.0.1:", "<probe><tcp:127.0.0.1:>"),
            ("probe tcp:127.0.0.1:3000 --inter", "<probe><tcp:127.0.0.1:3000><--interactive>"),
            ("bench a=tcp:", "<bench><a=tcp:>"),
            ("bench a=tcp:[::1]:", "<bench><a=tcp:[::1]:>"),
            ("activate -l tcp:", "<activate><-l><tcp:>"),
            ("activate -l vsock:any:", "<activate><-l><vsock:any:>"),
        ] {
            let shown = completed(&home, &shell, &format!("socket-activate-echo {typed}"));
            let expected = format!("<socket-activate-echo>{words}");
            assert_eq!(shown, expected, "{}: {typed}", shell.start);
        }
    }
}
