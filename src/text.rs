//! Makes text from outside safe for a terminal or a log.
//!
//! Peers choose the names of sockets, other users choose the names of processes, and whoever starts
//! a program chooses its environment. Some characters control a terminal, and a newline starts a
//! line that looks genuine. So print such text through [`Escaped`], whose output has neither.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Text, or bytes that are meant to be text. `Display` shows it in one line, without characters
/// that control a terminal: each byte of such a character, and each byte that is not UTF-8, is
/// `\xNN`.
///
/// A backslash stays as it is, so that text which is escaped twice does not change again. For text
/// that is parsed again, [`crate::address`] escapes a backslash too.
///
/// ```
/// # use socket_activate_echo::text::Escaped;
/// assert_eq!(Escaped::new("/run/\u{1b}[31m\n").to_string(), r"/run/\x1b[31m\x0a");
/// assert_eq!(Escaped::new("/run/naïve 名").to_string(), "/run/naïve 名");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// Escapes a string or a path.
    pub fn new(text: &'a (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self(text.as_ref().as_bytes())
    }

    /// Escapes bytes.
    pub const fn of_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, is_obeyed, f)
    }
}

/// Whether the character controls a terminal, or ends a line in a log.
pub(crate) fn is_obeyed(char: char) -> bool {
    let is_bidi = matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // C0 with the newline, DEL and C1; bidi controls (UAX #9) show the text in another order; the
    // rest are the separators of lines and paragraphs, and spaces that look like the plain one.
    is_bidi || char.is_control() || (char.is_whitespace() && char != ' ')
}

/// Writes each byte of a character that `is_special`, and each that is not UTF-8, as `\xNN`.
pub(crate) fn escape(
    text: &[u8],
    is_special: impl Fn(char) -> bool,
    f: &mut impl Write,
) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_special(char) {
                escape_bytes(char.encode_utf8(&mut [0; 4]).as_bytes(), f)?;
            } else {
                f.write_char(char)?;
            }
        }
        escape_bytes(chunk.invalid(), f)?;
    }
    Ok(())
}

fn escape_bytes(bytes: &[u8], f: &mut impl Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// The text as one word of a shell: what is printed is meant to be copied. Brackets are quoted too:
/// some shells look for files there.
pub(crate) fn quote(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-./:,@%+=".contains(char);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if !text.contains(is_obeyed) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // What a terminal or a log does not show as it is has escapes, which need $'…'.
        _ => {
            let mut word = String::from("$'");
            for chunk in bytes.utf8_chunks() {
                let valid = chunk.valid().replace('\\', r"\\").replace('\'', r"\'");
                // Writing to a string does not fail.
                let _ = escape(valid.as_bytes(), is_obeyed, &mut word);
                let _ = escape(chunk.invalid(), is_obeyed, &mut word);
            }
            word + "'"
        }
    }
}

/// Escapes in a JSON document what controls a terminal, in JSON's own form, so that a parser
/// returns the same strings. JSON requires escapes only for C0 (RFC 8259, section 7).
#[cfg(feature = "cli")]
pub(crate) fn escape_json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for char in document.chars() {
        // Characters outside of ASCII, and DEL, occur only within strings.
        if char >= '\x7f' && is_obeyed(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(char);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_escaped_and_the_rest_is_left_alone() {
        for (text, shown) in [
            (&b""[..], ""),
            (b"/run/echo.sock", "/run/echo.sock"),
            ("naïve 名 🦀 e\u{301}".as_bytes(), "naïve 名 🦀 e\u{301}"),
            (br"a\b \x1b", r"a\b \x1b"),
            (b"\0\t\n\r\x1b\x1f\x7f", r"\x00\x09\x0a\x0d\x1b\x1f\x7f"),
            ("\u{80}\u{9b}31m\u{9f}".as_bytes(), r"\xc2\x80\xc2\x9b31m\xc2\x9f"),
            ("\u{202a}\u{202e}".as_bytes(), r"\xe2\x80\xaa\xe2\x80\xae"),
            ("\u{2066}\u{2069}".as_bytes(), r"\xe2\x81\xa6\xe2\x81\xa9"),
            ("\u{2028}\u{2029}".as_bytes(), r"\xe2\x80\xa8\xe2\x80\xa9"),
            ("\u{61c}\u{200f}".as_bytes(), r"\xd8\x9c\xe2\x80\x8f"),
            (b"\x9b\xff", r"\x9b\xff"),
            (b"a\xc3", r"a\xc3"),
            // An encoded surrogate, and an overlong newline, are not UTF-8.
            (b"\xed\xa0\x80\xc0\x8a", r"\xed\xa0\x80\xc0\x8a"),
        ] {
            assert_eq!(Escaped::of_bytes(text).to_string(), shown);
            assert_eq!(Escaped::new(shown).to_string(), shown, "escaped once is enough");
        }
    }

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
            let mut bash = std::process::Command::new("bash");
            let Ok(bash) = crate::testing::output(bash.args(["-c", &script])) else { continue };
            assert_eq!(bash.stdout, word, "{quoted}");
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn json_is_read_back_as_it_was() {
        for text in ["", "\u{1b}\n\"\\", "\u{7f}\u{9b}\u{202e}\u{2028}\u{feff}", "naïve 名 🦀"]
        {
            let document = serde_json::to_string_pretty(&[text]).expect("JSON");
            let escaped = escape_json(&document);
            assert!(!escaped.contains(|char| char != '\n' && is_obeyed(char)), "{escaped:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).expect("JSON"), [text]);
        }
    }
}
