//! `--generate`: writes the manual pages and completions where packages install them, for users who
//! built the program themselves.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::Outcome;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text::{Escaped, quote};

/// A page of docs/man.
macro_rules! man {
    ($name:literal) => {
        (concat!("man/man1/", $name, ".1"), include_str!(concat!("../../docs/man/", $name, ".1")))
    };
}

/// The path of each file below a directory such as /usr/share, and its text. tests/it/installed.rs
/// compares them with the generated files.
const FILES: &[(&str, &str)] = &[
    man!("socket-activate-echo"),
    man!("socket-activate-echo-activate"),
    man!("socket-activate-echo-bench"),
    man!("socket-activate-echo-conform"),
    man!("socket-activate-echo-inspect"),
    man!("socket-activate-echo-probe"),
    man!("socket-activate-echo-serve"),
    (BASH, include_str!("../../completions/socket-activate-echo.bash")),
    (ZSH, include_str!("../../completions/_socket-activate-echo")),
    (FISH, include_str!("../../completions/socket-activate-echo.fish")),
];

const BASH: &str = "bash-completion/completions/socket-activate-echo";
const ZSH: &str = "zsh/site-functions/_socket-activate-echo";
const FISH: &str = "fish/vendor_completions.d/socket-activate-echo.fish";

pub(super) fn run(folder: &Path) -> Outcome {
    // The printed paths are for a shell that may run in another directory.
    let folder =
        std::path::absolute(folder).context(format!("find the folder {}", Escaped::new(folder)))?;
    let mut text = String::new();
    for (name, contents) in FILES {
        let path = folder.join(name);
        write(&path, contents)?;
        writeln!(text, "{}", Escaped::new(&path)).expect("a String takes it");
    }
    text.push_str(&hints(&folder));
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that closes the pipe needs no more output.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(0),
    }
}

fn write(path: &Path, contents: &str) -> Result<()> {
    let fail = |attempted: &str, path: &Path| {
        let message = format!("{attempted} {}", Escaped::new(path));
        move |error: std::io::Error| {
            Error::new(ErrorKind::Other, message)
                .because(error)
                .remedy("name a folder that you may write to, such as ~/.local/share")
        }
    };
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(fail("create the folder", folder))?;
    // As install(1) does it: what a link leads to is not written, and a FIFO waits for no reader.
    let removed = std::fs::remove_file(path);
    let gone = removed.or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    let created = gone.and_then(|()| std::fs::File::create_new(path));
    created.and_then(|mut file| file.write_all(contents.as_bytes())).map_err(fail("write", path))
}

/// What finds the files automatically, and what else it needs otherwise.
fn hints(folder: &Path) -> String {
    if ["/usr/share", "/usr/local/share"].iter().any(|known| folder == Path::new(known)) {
        return "\nman and new shells find them; bash needs the package bash-completion for that\n"
            .to_owned();
    }
    let path = |name: &str| quote(folder.join(name));
    let bin = folder.parent().unwrap_or(folder).join("bin");
    format!(
        "
To let man and new shells find them:
  man   nothing, if {bin} is in PATH; else in your shell's startup file:
        export MANPATH={man}:
  bash  nothing, if the package bash-completion is installed; else in ~/.bashrc:
        source {bash}
  zsh   in ~/.zshrc, above compinit:
        fpath=({zsh} $fpath)
  fish  nothing
",
        bin = Escaped::new(&bin),
        man = path("man"),
        bash = path(BASH),
        zsh = path("zsh/site-functions"),
    )
}
