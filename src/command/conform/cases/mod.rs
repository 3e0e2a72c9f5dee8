//! The cases, by what they ask about.

mod environment;
mod fds;
mod kinds;
mod life;
mod mux;
mod names;
mod notify;
mod options;
mod peers;
mod standard_input;

use super::case::Case;
use super::engine::Engine;
use super::mux::Mux;

/// All cases about an engine, in the order in which they run.
pub(super) fn of_engine(engine: &Engine) -> Vec<Case<'_>> {
    [
        fds::cases(engine),
        names::cases(engine),
        environment::cases(engine),
        kinds::cases(engine),
        standard_input::cases(engine),
        notify::cases(engine),
        options::cases(engine),
        peers::cases(engine),
        life::cases(engine),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All cases about a hypervisor's vsock multiplexer, in the order in which they run.
pub(super) fn of_mux(mux: &Mux) -> Vec<Case<'_>> {
    mux::cases(mux)
}

/// Names in a list, cut where nobody reads on.
fn list(items: &[String]) -> String {
    const ITEMS_MAX: usize = 6;
    let shown = items.iter().take(ITEMS_MAX).cloned().collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(ITEMS_MAX) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
