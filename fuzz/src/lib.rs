//! What the fuzz targets share.

/// Checks that text is safe to show: it says something, on one line, without a character that a
/// terminal obeys. Written apart from `text::Escaped`, which it checks.
pub fn check_shown(text: &str) {
    assert!(!text.trim().is_empty(), "nothing is shown");
    let obeyed = text.chars().find(|&char| {
        let code = u32::from(char);
        let is_control = code < 0x20 || (0x7f..0xa0).contains(&code);
        let is_space = char.is_whitespace() && char != ' ';
        let is_bidi = code == 0x61c
            || (0x200e..=0x200f).contains(&code)
            || (0x202a..=0x202e).contains(&code)
            || (0x2066..=0x2069).contains(&code);
        is_control || is_space || is_bidi
    });
    assert_eq!(obeyed, None, "{text:?}");
}
