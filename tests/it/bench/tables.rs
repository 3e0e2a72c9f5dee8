//! The tables for people: clear words, in the width of a terminal.

use super::{bench, tcp_server, udp_server};

/// Runs until the words are printed, in lines that fit a terminal of 80 columns. A busy machine may
/// leave the server without a processor for the whole of a run, which then has no replies.
fn says(arguments: &str, expected: &str) {
    let mut text = String::new();
    for _ in 0..100 {
        text = bench(&format!("-d 0.05 -w 0 {arguments}")).stdout;
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{arguments}: {line}");
        }
        let words: Vec<_> = text.split_whitespace().collect();
        if words.join(" ").contains(expected) {
            return;
        }
    }
    panic!("{arguments}: {expected}\n{text}");
}

#[test]
fn tables_fit_a_terminal_and_explain_themselves() {
    let (tcp, udp) = (tcp_server(0), udp_server(0));
    let equal = "no errors; every reply was equal to its message";
    let compare = format!("--compare -r 2 first=tcp:{tcp} container=tcp:{tcp}");
    let exe = env!("CARGO_BIN_EXE_socket-activate-echo");
    for (arguments, expected) in [
        (format!("tcp:{tcp}"), "ping-pong: 1 connection, messages of 64 B, 1 round of 0.05 s"),
        (format!("tcp:{tcp}"), equal),
        (format!("tcp:{tcp}"), "coordinated omission"),
        (format!("-r 3 tcp:{tcp}"), "medians of the rounds"),
        (format!("-c 4 --rate 5000 --busy tcp:{tcp}"), "5000 a second on a schedule"),
        (format!("-c 2 udp:{udp}"), "2 sockets"),
        (format!("-m bulk tcp:{tcp}"), "the bytes were not compared (see --verify)"),
        (format!("-m bulk --verify tcp:{tcp}"), equal),
        (format!("-m flood udp:{udp}"), "up to 256 in flight"),
        (format!("-m idle -c 3 tcp:{tcp}"), "idle: 3 connections"),
        (compare.clone(), "Ratios compare with `first` turn by turn"),
        (compare.clone(), "server round trips/s ratio range"),
        (compare.clone(), "server p50 µs p90 µs p99 µs p99.9 µs max µs"),
        (compare, equal),
        (format!("-m cold -r 2 --run a={exe}"), "2 starts of each server in turns"),
        ("-m cold -r 1".to_owned(), "Ratios compare median times with `serve`"),
    ] {
        says(&arguments, expected);
    }
}

#[test]
fn tables_say_which_server_went_wrong() {
    let (good, bad) = (tcp_server(0), tcp_server(1));
    let compare = format!("--compare -r 1 good=tcp:{good} bad=tcp:{bad}");
    says(&compare, "good: no errors; every reply was equal to its message bad: ");
    says(&compare, "wrong repl");
}

#[test]
fn names_of_servers_are_shown_and_not_obeyed() {
    let tcp = tcp_server(0);
    let exe = env!("CARGO_BIN_EXE_socket-activate-echo");
    let mut run = crate::kit::program();
    run.args(["bench", "-m", "cold", "-r", "1", "--run"]).arg(format!("\u{1b}[31m={exe}"));
    let mut compare = crate::kit::program();
    compare.args(["bench", "-d", "0.05", "-w", "0", "--compare", "-r", "1"]);
    compare.arg(format!("\u{1b}[31m=tcp:{tcp}"));
    for command in [&mut run, &mut compare] {
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(text.contains(r"\x1b[31m") && !text.contains('\u{1b}'), "{text}");
    }
}
