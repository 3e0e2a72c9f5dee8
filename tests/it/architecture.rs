//! The invariants of ARCHITECTURE.md that can be checked in the sources, and that neither the
//! compiler nor clippy checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::files;

/// The parts of the library, the lowest floor first. A part imports only from the floors below.
const FLOORS: &[&[&str]] = &[
    &["sys", "text"],
    &["error", "backoff", "deadline"],
    &["address"],
    &["proc"],
    &["activation", "notify", "client", "sandbox"],
    &["activator", "server"],
    &["cli"],
    &["command"],
];

/// Lints that hold an invariant, and the parts in which an attribute may lift one.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    ("unsafe_code", &["sys"]),
    ("disallowed_types", &["sys", "activation", "activator"]),
    ("disallowed_methods", &["activation", "notify", "client", "activator", "command"]),
];

/// A file that is longer has more than one subject.
const LINES_MAX: usize = 450;

#[test]
fn a_part_imports_only_from_the_floors_below() {
    let floor = |part: &str| FLOORS.iter().position(|floor| floor.contains(&part));
    let mut problems = Vec::new();
    for (module, imports) in imports() {
        for import in imports {
            let (part, other) = (part(&module), part(&import));
            let is_below = floor(part).is_some() && floor(other) < floor(part);
            if part != other && !part.is_empty() && !is_below {
                problems.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The file of a folder knows the files in the folder and holds what they share: that is not a
/// circle.
#[test]
fn no_files_import_each_other() {
    let mut imports = imports();
    let through_a_re_export = imports["command::serve"].contains("activation::inherited");
    assert!(through_a_re_export, "nothing would be found if imports were not read");
    let folders: BTreeSet<String> = imports.keys().map(|module| parent(module).into()).collect();
    imports.retain(|module, _| !folders.contains(module));
    let reached: BTreeMap<_, _> =
        imports.keys().map(|module| (module, reach(module, &imports))).collect();
    let circle = |(module, others): (&&String, &BTreeSet<&String>)| {
        let is_in_it = |other: &&&String| reached.get(*other).is_some_and(|r| r.contains(*module));
        let circle: Vec<_> = others.iter().filter(is_in_it).map(|other| other.as_str()).collect();
        (!circle.is_empty()).then(|| circle.join(", "))
    };
    let circles: BTreeSet<_> = reached.iter().filter_map(circle).collect();
    assert!(circles.is_empty(), "{circles:?}");
}

#[test]
fn an_invariant_is_lifted_only_where_it_may_be() {
    for (module, code) in modules() {
        for (lint, parts) in EXCEPTIONS {
            let lifts = |line: &str| line.contains(lint) && !line.starts_with("#![cfg_attr(test");
            let may = parts.contains(&part(&module));
            assert!(may || !code.lines().any(lifts), "{module} lifts {lint}");
        }
    }
}

#[test]
fn no_file_has_more_than_one_subject() {
    let folders = ["src", "tests", "examples"].map(|folder| sources(&root().join(folder)));
    for path in folders.concat() {
        let lines = fs::read_to_string(&path).expect("a source").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: split it by meaning", path.display());
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let is_source = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs");
    files(folder).into_iter().filter(is_source).collect()
}

/// The part that a module belongs to; empty for the crate itself.
fn part(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// Each module of the library, such as `server::worker`, and its code without comments and tests.
fn modules() -> BTreeMap<String, String> {
    let src = root().join("src");
    let module = |path: PathBuf| {
        let relative = path.strip_prefix(&src).expect("within src").with_extension("");
        let name = relative.to_str()?.replace('/', "::");
        let name = name.strip_suffix("::mod").unwrap_or(&name);
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next()?;
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = code.lines().filter(is_code).map(|line| format!("{line}\n")).collect();
        let is_test = name.ends_with("::tests") || name == "main";
        (!is_test).then(|| (if name == "lib" { "" } else { name }.to_owned(), code))
    };
    sources(&src).into_iter().filter_map(module).collect()
}

/// The paths that each module names.
type Paths = BTreeMap<String, Vec<String>>;

/// The modules that each module imports from, or names a path of.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let paths: Paths = modules().into_iter().map(|(module, code)| (module, paths(&code))).collect();
    let imports = |module: &String| {
        let found = paths[module].iter().filter_map(|path| resolve(module, path, &paths));
        found.filter(|import| import != module && !import.is_empty()).collect()
    };
    paths.keys().map(|module| (module.clone(), imports(module))).collect()
}

/// Every path of a `use`, and those that the code names in full.
fn paths(code: &str) -> Vec<String> {
    let uses = code.split(';').filter_map(|statement| statement.rsplit_once("use "));
    let is_path =
        |word: &&str| ["crate::", "self::", "super::"].iter().any(|s| word.starts_with(s));
    let words = code.split(|char: char| !char.is_alphanumeric() && !"_:".contains(char));
    uses.flat_map(|(_, tree)| expand(tree)).chain(words.filter(is_path).map(Into::into)).collect()
}

/// The paths of a use tree: `a::{b, c::D}` has `a::b` and `a::c::D`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let branches = rest.rsplit_once('}').map_or(rest, |(branches, _)| branches);
    let mut depth = 0;
    let is_end = |char| {
        depth += i32::from(char == '{') - i32::from(char == '}');
        char == ',' && depth == 0
    };
    let paths = branches.split(is_end).flat_map(expand);
    paths.map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// The module whose item a path names, also where the file of a folder re-exports it.
fn resolve<'a>(from: &str, path: &'a str, paths: &'a Paths) -> Option<String> {
    let (module, item) = locate(from, path, paths)?;
    let is_it = |path: &&String| !item.is_empty() && path.ends_with(&format!("::{item}"));
    let mut found = paths[&module].iter().filter(is_it);
    let origin = found.find_map(|path| locate(&module, path, paths)).map(|(origin, _)| origin);
    Some(if module == from { module } else { origin.unwrap_or(module) })
}

/// The module that a path leads to, and the item there.
fn locate<'a>(from: &str, path: &'a str, paths: &Paths) -> Option<(String, &'a str)> {
    let mut module = from.to_owned();
    let mut names = path.split("::").peekable();
    let is_child = |module: &str, name: &str| paths.contains_key(&join(module, name));
    if !is_child(from, names.peek()?) && !["crate", "self", "super"].contains(names.peek()?) {
        return None;
    }
    for name in names {
        match name {
            "crate" => module.clear(),
            "self" => {}
            "super" => module.truncate(parent(&module).len()),
            name if is_child(&module, name) => module = join(&module, name),
            item => return Some((module, item)),
        }
    }
    Some((module, ""))
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// Every module that a module imports from, and that these do.
fn reach<'a>(
    module: &'a String,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut next = vec![module];
    while let Some(module) = next.pop() {
        let known = imports[module].iter().filter(|other| imports.contains_key(*other));
        next.extend(known.filter(|other| found.insert(*other)));
    }
    found
}
