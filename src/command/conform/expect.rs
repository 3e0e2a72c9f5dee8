//! `--expect`: the known results of an engine, so that only a change is reported.

use std::path::Path;

use wildmatch::WildMatch;

use super::case::{Case, Verdict};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text::Escaped;

/// What a file says about one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Nothing: it has to pass, or to be skipped.
    Unnamed,
    /// This result. A known failure may be skipped too: then nothing has changed.
    Result(Verdict),
    /// Sometimes this, sometimes that: a race of the engine.
    Any,
}

impl Expectation {
    pub(super) fn is_met_by(self, result: Verdict) -> bool {
        match self {
            Self::Unnamed => result != Verdict::Fail,
            Self::Any => true,
            Self::Result(Verdict::Fail) => result != Verdict::Pass,
            Self::Result(expected) => result == expected,
        }
    }
}

/// The lines of the file.
#[derive(Debug, Default)]
pub(super) struct Expected(Vec<(WildMatch, Expectation)>);

impl Expected {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let shown = Escaped::new(file);
        let text = std::fs::read_to_string(file).context(format!("read {shown}"))?;
        Self::parse(&text).map_err(|(line, message)| {
            Error::new(ErrorKind::Usage, format!("{shown}, line {line}: {message}")).remedy(
                "write the name of a case and `pass`, `fail`, `skip` or `any`; # begins a comment",
            )
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<_> =
                line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let expectation = match words[..] {
                [] => continue,
                [_, "pass"] => Expectation::Result(Verdict::Pass),
                [_, "fail"] => Expectation::Result(Verdict::Fail),
                [_, "skip"] => Expectation::Result(Verdict::Skip),
                [_, "any"] => Expectation::Any,
                _ => return Err((number, format!("`{}` is no result", Escaped::new(line)))),
            };
            lines.push((WildMatch::new(words[0]), expectation));
        }
        Ok(Self(lines))
    }

    /// A line that matches no case is a mistake: nothing would ever report it.
    pub(super) fn check(&self, cases: &[Case<'_>]) -> Result<()> {
        let is_unknown =
            |(pattern, _): &&(WildMatch, _)| !cases.iter().any(|case| pattern.matches(&case.name));
        match self.0.iter().find(is_unknown) {
            None => Ok(()),
            Some((pattern, _)) => {
                Err(Error::new(ErrorKind::Usage, format!("--expect: no case matches `{pattern}`"))
                    .remedy("`conform --list` lists the cases"))
            }
        }
    }

    pub(super) fn of(&self, name: &str) -> Expectation {
        let last = self.0.iter().rfind(|(pattern, _)| pattern.matches(name));
        last.map_or(Expectation::Unnamed, |(_, expectation)| *expectation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let expected =
            Expected::parse("# known\n\nnames.* fail # 43764\nnames.absent pass\nstop.* any\n")
                .expect("it is valid");
        for (name, expectation) in [
            ("names.kept", Expectation::Result(Verdict::Fail)),
            ("names.absent", Expectation::Result(Verdict::Pass)),
            ("stop.released", Expectation::Any),
            ("fds.order", Expectation::Unnamed),
        ] {
            assert_eq!(expected.of(name), expectation, "{name}");
        }
        for (text, line) in [("a", 1), ("\na maybe", 2), ("a fail b", 1)] {
            assert_eq!(Expected::parse(text).expect_err(text).0, line);
        }
    }

    #[test]
    fn what_is_as_expected() {
        use Verdict::{Fail, Pass, Skip};
        for (expectation, met) in [
            (Expectation::Unnamed, [true, false, true]),
            (Expectation::Result(Pass), [true, false, false]),
            (Expectation::Result(Fail), [false, true, true]),
            (Expectation::Result(Skip), [false, false, true]),
            (Expectation::Any, [true, true, true]),
        ] {
            assert_eq!([Pass, Fail, Skip].map(|result| expectation.is_met_by(result)), met);
        }
    }
}
