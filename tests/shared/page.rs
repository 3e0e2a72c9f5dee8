//! The commands in the code blocks of a page, and the output that the page shows for them.

/// A block of code.
#[derive(Default)]
pub(crate) struct Block {
    /// What stands behind its opening fence.
    pub(crate) kind: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Default)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) prints: Vec<String>,
}

/// The blocks of a page, fenced or indented. A block that says that it is text has no commands.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, &str, Vec<&str>)> = None;
    let joined = page.replace("\\\n", " ");
    for line in joined.lines() {
        let fence = line.trim_start().strip_prefix("```");
        let indented = line.starts_with("    ");
        open = match (open, fence) {
            (Some((true, kind, lines)), Some(_)) => {
                blocks.push(block(kind, &lines));
                None
            }
            (Some((fenced, kind, mut lines)), _) if fenced || (indented && fence.is_none()) => {
                lines.push(line);
                Some((fenced, kind, lines))
            }
            (closed, _) => {
                blocks.extend(closed.map(|(_, kind, lines)| block(kind, &lines)));
                match fence {
                    Some(kind) => Some((true, kind, Vec::new())),
                    None => indented.then(|| (false, "", vec![line])),
                }
            }
        };
    }
    blocks
}

/// Where there are prompts they mark the commands, and the rest is what these print.
fn block(kind: &str, lines: &[&str]) -> Block {
    let mut block = Block { kind: kind.trim().to_owned(), steps: Vec::new() };
    let has_prompts = lines.iter().any(|line| line.trim_start().starts_with("$ "));
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("$ "), has_prompts) {
            (None, true) => {
                if let Some(step) = block.steps.last_mut() {
                    step.prints.push(line.to_owned());
                }
            }
            (command, _) if block.kind != "text" => block
                .steps
                .push(Step { command: command.unwrap_or(line).to_owned(), prints: Vec::new() }),
            _ => {}
        }
    }
    block
}

/// Whether a line of the output is the expected one, whatever its numbers are.
pub(crate) fn shows(output: &str, expected: &str) -> bool {
    let wanted = normal(expected);
    output.lines().any(|line| matches(&normal(line), &wanted))
}

/// A line without what differs from run to run: numbers, the unit of a time, the width of columns.
fn normal(line: &str) -> String {
    let mut text = String::new();
    for char in line.chars() {
        match char {
            '0'..='9' => {
                // 0x3a is one number, and so is 1.25.
                if !text.ends_with('#') {
                    text.push('#');
                }
            }
            '.' if text.ends_with('#') => {}
            _ => text.push(char),
        }
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("# µs", "# s").replace("# ms", "# s")
}

/// Whether `line` is `wanted`, where `…` stands for anything.
fn matches(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    for (index, part) in wanted.split('…').map(str::trim).enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if index > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || wanted.trim_end().ends_with('…')
}

/// The commands of the README. What follows a # is said to the reader.
pub(crate) fn readme_steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for step in blocks(include_str!("../../README.md")).into_iter().flat_map(|block| block.steps) {
        let words = step.command.split_whitespace().take_while(|&word| word != "#");
        let command = words.collect::<Vec<_>>().join(" ");
        if !command.is_empty() {
            steps.push(Step { command, ..step });
        }
    }
    steps
}

/// A command of the README, for a test to run. `it::readme` looks for the calls, so the command is
/// to be written there in full.
#[track_caller]
pub(crate) fn readme(command: &str) -> Step {
    let mut steps = readme_steps();
    steps.retain(|step| step.command == command);
    assert!(!steps.is_empty(), "the README no longer has `{command}`");
    // Of several places, the one that shows what comes.
    steps.sort_by_key(|step| step.prints.is_empty());
    steps.swap_remove(0)
}
