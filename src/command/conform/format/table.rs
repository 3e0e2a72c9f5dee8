//! A row for each case.

use std::io::{Result, Write};

use super::count;
use crate::command::conform::case::Verdict;
use crate::command::conform::finding::Finding;
use crate::text::Escaped;

/// The longest name.
const WIDTH: usize = 26;

pub(super) fn row(out: &mut impl Write, finding: &Finding) -> Result<()> {
    let Finding { name, result, reason, .. } = finding;
    let mark = match (finding.expected, result) {
        (false, Verdict::Fail) => "",
        (false, _) => " (not expected)",
        (true, Verdict::Fail) => " (expected)",
        (true, _) => "",
    };
    writeln!(out, "{name:WIDTH$} {}{mark}  {}", result.word(), Escaped::new(reason))
}

pub(super) fn end(out: &mut impl Write, findings: &[Finding]) -> Result<()> {
    let [passed, failed, skipped] =
        [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|result| count(findings, result));
    let surprises: Vec<_> = findings.iter().filter(|finding| !finding.expected).collect();
    writeln!(out, "\n{passed} passed, {failed} failed, {skipped} skipped")?;
    if surprises.is_empty() {
        return writeln!(out, "all as expected");
    }
    writeln!(out, "not as expected:")?;
    // Cases of one kind share a sentence, which is printed once.
    for of_a_kind in surprises.chunk_by(|one, next| one.explanation == next.explanation) {
        let [Finding { explanation, source, .. }, ..] = of_a_kind else { continue };
        let names: Vec<_> = of_a_kind.iter().map(|finding| finding.name.as_str()).collect();
        writeln!(out, "  {}: {explanation} ({source})", names.join(", "))?;
    }
    Ok(())
}
