//! The invariants of ARCHITECTURE.md that can be read off the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// What a part of the sources must not contain, and why.
struct Rule {
    within: &'static str,
    except: &'static [&'static str],
    words: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: "src/server",
        except: &[],
        words: &["std::env", "env::var", ".bind(", ".listen(", "clap"],
        because: "the server is handed its sockets and limits",
    },
    Rule {
        within: "src",
        except: &["src/sys"],
        words: &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"],
        because: "unsafe code lives in src/sys alone",
    },
    Rule {
        within: "src",
        except: &["src/sys", "src/activation", "src/activator"],
        words: &["RawFd"],
        because: "raw descriptors stop at activation, activator and sys",
    },
    Rule {
        within: "src",
        except: &["src/command", "src/cli", "src/cli.rs", "src/main.rs"],
        words: &["io::stdout", "io::stderr", "println!", "eprint", "ExitCode"],
        because: "nothing in the library writes to the terminal",
    },
    Rule {
        within: "src",
        except: &[],
        words: &["process::exit", "todo!", "unimplemented!", "TODO", "FIXME"],
        because: "the program ends in main, and nothing is left undone",
    },
];

/// A file that is longer has more than one subject.
const LINES_MAX: usize = 450;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_part_keeps_to_what_is_its_own() {
    let mut problems = Vec::new();
    for rule in RULES {
        for path in sources(&root().join(rule.within)) {
            let relative = path.strip_prefix(root()).expect("within the repository");
            if rule.except.iter().any(|except| relative.starts_with(except)) {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source");
            for (index, line) in text.lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                for word in rule.words.iter().filter(|word| !is_comment && line.contains(**word)) {
                    let (place, because) = (relative.display(), rule.because);
                    problems.push(format!("{place}:{}: `{word}`: {because}", index + 1));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_file_has_more_than_one_subject() {
    let folders = ["src", "tests", "examples"].map(|folder| sources(&root().join(folder)));
    for path in folders.concat() {
        let lines = fs::read_to_string(&path).expect("a source").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: split it by meaning", path.display());
    }
}
