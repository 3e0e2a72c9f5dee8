//! A processor for which this program has no system call filter.

use super::{Needs, failed};
use crate::error::Result;

/// Whether this program has a filter for this processor.
pub(super) const IS_KNOWN: bool = false;

pub(super) struct Filter;

impl Filter {
    pub(super) fn new(_: &Needs) -> Result<Self> {
        let why = "this program has a filter for x86_64, aarch64 and riscv64 only";
        Err(failed("filter system calls with seccomp").detail(why))
    }

    pub(super) fn calls(&self) -> usize {
        0
    }

    pub(super) fn apply(&self) -> Result<()> {
        Ok(())
    }
}
