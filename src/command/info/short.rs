//! Texts with a longest length: a datagram that asks must be a third as long as its answer.

use crate::text::is_obeyed;

/// The longest address, as bytes of JSON. None is cut: a path has at most 107 bytes, each of which
/// has at most five.
pub(super) const ADDRESS_MAX: usize = 560;

/// The text, cut so that its form in JSON has at most `most` bytes. `…` stands for the rest.
pub(super) fn short(text: &str, most: usize) -> String {
    let (mut len, mut fits) = (0, 0);
    for (index, char) in text.char_indices() {
        len += length_in_json(char);
        if len > most {
            return format!("{}…", &text[..fits]);
        }
        if len + '…'.len_utf8() <= most {
            fits = index + char.len_utf8();
        }
    }
    text.to_owned()
}

/// How many bytes the character has at most in a string of JSON that `escape_json` has escaped.
fn length_in_json(char: char) -> usize {
    match char {
        '"' | '\\' => 2,
        char if is_obeyed(char) => 6,
        char => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::escape_json;

    #[test]
    fn no_text_is_longer_in_json_than_it_may_be() {
        for text in
            ["", "info", "naïve 名 🦀", "\"\\\"\\\"\\", "\u{1b}\0\u{7f}\n", "\u{202e}\u{9b}"]
        {
            for most in 3..40 {
                let cut = short(text, most);
                let json = escape_json(&serde_json::to_string(&cut).expect("JSON"));
                assert!(json.len() <= most + 2, "{text:?} {most}: {json}");
                assert!(cut == text || cut.ends_with('…'), "{text:?} {most}: {cut:?}");
            }
            assert_eq!(short(text, 100), text);
        }
    }
}
