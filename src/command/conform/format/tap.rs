//! TAP 13, the Test Anything Protocol, which every harness reads:
//! <https://testanything.org/tap-version-13-specification.html>.

use std::io::{Result, Write};

use crate::command::conform::case::Verdict;
use crate::command::conform::expect::Expectation;
use crate::command::conform::finding::Finding;
use crate::text::Escaped;

pub(super) fn begin(out: &mut impl Write, cases: usize) -> Result<()> {
    writeln!(out, "TAP version 13\n1..{cases}")
}

pub(super) fn row(out: &mut impl Write, number: usize, finding: &Finding) -> Result<()> {
    let Finding { name, result, expected, .. } = finding;
    // `#` begins a directive.
    let reason = Escaped::new(&finding.reason).to_string().replace('#', "\\#");
    match result {
        Verdict::Skip if *expected => writeln!(out, "ok {number} - {name} # SKIP {reason}"),
        Verdict::Skip => writeln!(out, "not ok {number} - {name}: skipped: {reason}"),
        // A harness counts a failure that is known as TODO, and reports it when it is gone.
        Verdict::Fail if *expected => writeln!(out, "not ok {number} - {name} # TODO {reason}"),
        Verdict::Pass if finding.expectation == Expectation::Result(Verdict::Fail) => {
            writeln!(out, "not ok {number} - {name}: passed, and --expect says fail: {reason}")
        }
        Verdict::Fail => writeln!(out, "not ok {number} - {name}: {reason}"),
        Verdict::Pass if *expected => writeln!(out, "ok {number} - {name}: {reason}"),
        Verdict::Pass => writeln!(out, "not ok {number} - {name}: passed, and --expect says skip"),
    }
}
