//! Text that a shell reads back as the very words: what is printed is meant to be copied.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::activator::Target;
use crate::text;

/// The command line of the program, cut at its end if it is very long.
pub(super) fn command_line(target: &Target) -> String {
    const CHARS_MAX: usize = 200;
    let words = std::iter::once(&target.arg0).chain(&target.arguments);
    let line = words.map(quote).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text as one word. Brackets are quoted too: some shells look for files there.
pub(super) fn quote(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-./:,@%+=".contains(char);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if !text.contains(text::is_obeyed) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // What a terminal or a log does not show as it is has escapes, which need $'…'.
        _ => {
            let mut word = String::from("$'");
            for chunk in bytes.utf8_chunks() {
                let valid = chunk.valid().replace('\\', r"\\").replace('\'', r"\'");
                // Writing to a string does not fail.
                let _ = text::escape(valid.as_bytes(), text::is_obeyed, &mut word);
                let _ = text::escape(chunk.invalid(), text::is_obeyed, &mut word);
            }
            word + "'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        for (word, quoted) in [
            (&b"a-b_c./:,@%+="[..], "a-b_c./:,@%+="),
            (b"", "''"),
            (b"it's", r"'it'\''s'"),
            (br"a\b $x", r"'a\b $x'"),
            ("naïve".as_bytes(), "'naïve'"),
            (b"a\n'\\\x1b\xff", r"$'a\x0a\'\\\x1b\xff'"),
        ] {
            assert_eq!(quote(OsStr::from_bytes(word)), quoted);
            let script = format!("printf %s {quoted}");
            let Ok(bash) = std::process::Command::new("bash").args(["-c", &script]).output() else {
                continue;
            };
            assert_eq!(bash.stdout, word, "{quoted}");
        }
    }

    #[test]
    fn a_long_command_is_cut() {
        let long = "é".repeat(300);
        let target = Target::find(&["sh", "-c", &long], Vec::new()).expect("there is a shell");
        let line = command_line(&target);
        assert!(line.starts_with("sh -c 'é") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), 201);
    }
}
