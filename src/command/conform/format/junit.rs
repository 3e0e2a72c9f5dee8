//! JUnit XML, in the form that CI systems read:
//! <https://github.com/testmoapp/junitxml>.

use std::io::{Result, Write};

use quick_xml::Writer;
use quick_xml::events::BytesText;

use crate::command::conform::case::Verdict;
use crate::command::conform::finding::Finding;
use crate::text::Escaped;

pub(super) fn write(out: &mut impl Write, command: &[String], findings: &[Finding]) -> Result<()> {
    let count =
        |is_it: fn(&Finding) -> bool| findings.iter().filter(|one| is_it(one)).count().to_string();
    let seconds: f64 = findings.iter().map(|finding| finding.duration.as_secs_f64()).sum();
    let counts = [
        ("name", format!("conform {}", Escaped::new(&command.join(" ")))),
        ("tests", findings.len().to_string()),
        ("failures", count(is_failure)),
        ("errors", "0".to_owned()),
        ("skipped", count(is_skipped)),
        ("time", format!("{seconds:.3}")),
    ];
    let attributes = || counts.iter().map(|(name, value)| (*name, value.as_str()));
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let mut writer = Writer::new_with_indent(&mut *out, b' ', 2);
    writer.create_element("testsuites").write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attributes(attributes());
        suite
            .write_inner_content(|writer| findings.iter().try_for_each(|one| case(writer, one)))?;
        Ok(())
    })?;
    writeln!(out)
}

fn is_failure(finding: &Finding) -> bool {
    !finding.expected
}

/// A known failure is reported as skipped: JUnit has no word for it.
fn is_skipped(finding: &Finding) -> bool {
    finding.expected && finding.result != Verdict::Pass
}

fn case<W: Write>(writer: &mut Writer<W>, finding: &Finding) -> Result<()> {
    let Finding { name, result, .. } = finding;
    let reason = Escaped::new(&finding.reason).to_string();
    let group = name.split('.').next().unwrap_or(name);
    let seconds = format!("{:.3}", finding.duration.as_secs_f64());
    let attributes = [("classname", group), ("name", name.as_str()), ("time", seconds.as_str())];
    let element = writer.create_element("testcase").with_attributes(attributes);
    let message = ("message", reason.as_str());
    if is_failure(finding) {
        element.write_inner_content(|writer| {
            let failure = writer.create_element("failure").with_attribute(message);
            let text = format!("{}: {} ({})", result.word(), finding.explanation, finding.source);
            failure.write_text_content(BytesText::new(&text)).map(drop)
        })?;
    } else if is_skipped(finding) {
        element.write_inner_content(|writer| {
            writer.create_element("skipped").with_attribute(message).write_empty().map(drop)
        })?;
    } else {
        element.write_inner_content(|writer| {
            writer
                .create_element("system-out")
                .write_text_content(BytesText::new(&reason))
                .map(drop)
        })?;
    }
    Ok(())
}
