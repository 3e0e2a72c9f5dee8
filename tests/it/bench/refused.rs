//! Wrong arguments are reported before the load begins, not after minutes.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{bench, serve_tcp, tcp_server};
use crate::kit::{Dir, program, run};

/// A server that counts the bytes it is sent, and answers none of them.
fn counting_server() -> (String, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let address = serve_tcp(move |mut stream| {
        while let Ok(bytes @ 1..) = stream.read(&mut [0; 64]) {
            count.fetch_add(bytes, Ordering::SeqCst);
        }
    });
    (format!("tcp:{address}"), received)
}

/// The run ends with `status` and says `word`, and its server was never sent anything.
fn refused(arguments: &[&str], status: i32, word: &str) {
    let (address, received) = counting_server();
    let finished = run(program().arg("bench").args(arguments).arg(&address));
    finished.expect_code(status).expect_stderr(&[word]);
    assert_eq!(received.load(Ordering::SeqCst), 0, "{arguments:?}: the load had begun");
}

/// The names of what is in the directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_picture_that_cannot_be_written_is_refused_before_the_load() {
    let dir = Dir::new();
    let path = |name: &str| dir.path(name).display().to_string();
    fs::create_dir(path("directory.svg")).unwrap();
    fs::write(path("target"), "kept").unwrap();
    symlink(path("target"), path("link.svg")).unwrap();
    symlink(path("none"), path("dangling.svg")).unwrap();
    let fifo = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo.svg"), fifo.0, fifo.1, 0).unwrap();
    let before = names(dir.path("").as_path());
    for (name, status, word) in [
        ("q.png", 2, ".svg"),
        ("q", 2, ".svg"),
        (".svg", 2, ".svg"),
        ("q.svg.gz", 2, ".svg"),
        ("none/q.svg", 1, "No such file"),
        ("target/q.svg", 1, "Not a directory"),
        ("directory.svg", 1, "not a regular file"),
        ("link.svg", 1, "not a regular file"),
        ("dangling.svg", 1, "not a regular file"),
        ("fifo.svg", 1, "not a regular file"),
    ] {
        refused(&["-t", "5", "--plot", &path(name)], status, word);
    }
    refused(&["--plot", ""], 2, ".svg");
    refused(&["--plot", "/proc/q.svg"], 1, "/proc/q.svg");
    refused(&["--plot", &path("\u{1b}\n.svg/q.svg")], 1, r"\x1b\x0a.svg");
    let long = format!("{}.svg", "n".repeat(252));
    refused(&["--plot", &path(&long)], 1, "too long");
    assert_eq!(names(dir.path("").as_path()), before);
    assert_eq!(fs::read_to_string(path("target")).unwrap(), "kept");
    if !rustix::process::geteuid().is_root() {
        fs::write(path("read-only.svg"), "kept").unwrap();
        fs::set_permissions(path("read-only.svg"), fs::Permissions::from_mode(0o444)).unwrap();
        refused(&["--plot", &path("read-only.svg")], 1, "Permission denied");
    }
}

#[test]
fn a_picture_appears_whole_or_the_old_one_stays() {
    let dir = Dir::new();
    let longest = format!("{}.svg", "n".repeat(251));
    for name in ["q.svg", "Q.SVG", longest.as_str()] {
        let path = dir.path(name);
        let plot = |address: &str| {
            let mut bench = program();
            bench.args(["bench", "-d", "0.05", "-w", "0", "--plot"]).arg(&path).arg(address);
            run(&mut bench).status.code()
        };
        assert_eq!(plot("tcp:127.0.0.1:1"), Some(6), "{name}");
        assert!(!path.exists(), "{name}: a run that fails leaves nothing");
        fs::write(&path, "old").unwrap();
        assert_eq!(plot("tcp:127.0.0.1:1"), Some(6), "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{name}");
        assert_eq!(plot(&format!("tcp:{}", tcp_server(0))), Some(0), "{name}");
        assert!(fs::read_to_string(&path).unwrap().ends_with("</svg>\n"), "{name}");
        fs::remove_file(&path).unwrap();
        assert_eq!(names(dir.path("").as_path()), Vec::<String>::new(), "{name}");
    }
    // Without a directory, it is the current one.
    let address = format!("tcp:{}", tcp_server(0));
    let mut here = program();
    here.current_dir(dir.path("")).args(["bench", "-d=0.05", "-w=0", "--plot=q.svg", &address]);
    run(&mut here).expect_code(0);
    assert_eq!(names(dir.path("").as_path()), ["q.svg"]);
}

#[test]
fn arguments_without_an_effect_are_refused_before_the_load() {
    for (arguments, word) in [
        ("-m bulk --plot q.svg", "--plot is for --mode pingpong"),
        ("-m cold --plot q.svg", "--plot is for --mode pingpong"),
        ("--run /bin/true", "--run is for --mode cold"),
        ("--verify", "--verify is for --mode bulk"),
        ("--gso", "--gso is for --mode flood"),
        ("-m bulk --window 5", "--window is for --mode flood"),
        ("-m cold --cpu 0", "--cpu is not for --mode cold"),
        ("-m cold --compare", "--compare is not for --mode cold"),
        ("-m cold --server-pid 1", "--server-pid is not for --mode cold"),
        ("-m cold --congestion reno", "--congestion is not for --mode cold"),
        ("--server-pid 4294967295", "4294967295: /proc has no such process"),
        ("--congestion nosuch", "congestion control nosuch"),
        ("--cpu 1023", "CPU 1023"),
    ] {
        refused(&arguments.split_whitespace().collect::<Vec<_>>(), 2, word);
    }
}

#[test]
fn every_server_is_reached_before_the_first_one_is_measured() {
    for (last, status, word) in [
        ("tcp:127.0.0.1:1", 6, "refused"),
        ("tcp:name.invalid:1", 6, "name.invalid"),
        ("unix:/nosuch/socket", 6, "No such file"),
    ] {
        let (first, received) = counting_server();
        bench(&format!("-d 0.1 -t 0.2 {first} {last}")).expect_code(status).expect_stderr(&[word]);
        assert_eq!(received.load(Ordering::SeqCst), 0, "{last}: the load had begun");
    }
}

#[test]
fn an_output_that_nobody_reads_is_refused_before_the_load() {
    for flags in [&["--json"][..], &[]] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let read_only = fs::File::open("/dev/null").unwrap();
        for stdout in [Stdio::from(writer), Stdio::from(read_only)] {
            let (address, received) = counting_server();
            let mut command = program();
            command.arg("bench").args(flags).args(["-t=0.2", &address]).stdout(stdout);
            let output = command.output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{flags:?}: {message}");
            assert!(message.contains("standard output"), "{flags:?}: {message}");
            assert_eq!(received.load(Ordering::SeqCst), 0, "{flags:?}: the load had begun");
        }
    }
}
