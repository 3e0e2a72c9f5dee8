//! Who is at the other end, as the program sees it.

use crate::command::conform::case::Case;
use crate::command::conform::engine::Engine;

pub(super) fn cases(_engine: &Engine) -> Vec<Case<'_>> {
    Vec::new()
}
