//! A server in a thread of this process, with answers of the test.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use socket_activate_echo::server::{
    self, Answer, Config, Kept, Limits, Question, Response, Shutdown,
};

use crate::kit::{DEADLINE, Dir};
use crate::workers::inherited;

/// Answers with the question, but waits for more after `wait`.
#[derive(Debug)]
struct Parrot(Mutex<Sender<usize>>);

impl Answer for Parrot {
    fn is_for(&self, socket: usize) -> bool {
        socket == 0
    }

    fn answer(&self, question: &Question<'_>) -> Response {
        self.0.lock().expect("no panic").send(question.bytes.len()).expect("the test waits");
        match question.bytes {
            b"wait" if !question.is_whole => Response::Incomplete,
            b"nothing" => Response::Nothing("it is nothing"),
            bytes => Response::Bytes([b"answer: ", bytes].concat()),
        }
    }
}

fn config(limits: Limits, keeps_connections: bool) -> (Config, std::sync::mpsc::Receiver<usize>) {
    let (sender, asked) = channel();
    let answer: Option<Box<dyn Answer>> = Some(Box::new(Parrot(Mutex::new(sender))));
    (Config { limits, keeps_connections, answer, ..Config::default() }, asked)
}

fn client(path: &std::path::Path) -> UnixStream {
    let client = UnixStream::connect(path).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client
}

fn rest(mut client: &UnixStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).expect("its end");
    text
}

/// A peer that keeps its end open after the answer has `drain_time_max`. No answer is one too.
#[test]
fn a_peer_that_does_not_end_is_ended() {
    for (question, answer) in [("question", "answer: question"), ("nothing", "")] {
        let limits = Limits { drain_time_max: Duration::from_millis(50), ..Limits::default() };
        let (mut peer, connection) = UnixStream::pair().expect("socketpair(2)");
        let (config, _asked) = config(limits, false);
        let (_trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        peer.write_all(question.as_bytes()).expect("write");
        let sockets = vec![inherited(connection.into())];
        server::run(sockets, Kept::default(), &config, &shutdown, &mut ()).expect("it ends");
        assert_eq!(rest(&peer), answer);
    }
}

/// A connection that answers ends with its process: the next one would echo on it.
#[test]
fn a_connection_that_answers_is_not_kept() {
    let dir = Dir::new();
    let listeners = ["info", "echo"].map(|name| UnixListener::bind(dir.path(name)).expect("bind"));
    let sockets = listeners.map(|listener| inherited(listener.into())).into();
    let (config, asked) = config(Limits::default(), true);
    let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
    let mut waiting = client(&dir.path("info"));
    waiting.write_all(b"wait").expect("write");
    let silent = client(&dir.path("info"));
    let mut echo = client(&dir.path("echo"));
    echo.write_all(b"hello").expect("write");
    let ended = std::thread::scope(|scope| {
        let run =
            scope.spawn(|| server::run(sockets, Kept::default(), &config, &shutdown, &mut ()));
        assert_eq!(asked.recv_timeout(DEADLINE), Ok(4));
        let mut hello = [0; 5];
        echo.read_exact(&mut hello).expect("an echo");
        let mut last = client(&dir.path("info"));
        last.write_all(b"last").expect("write");
        assert_eq!(asked.recv_timeout(DEADLINE), Ok(4));
        assert_eq!(rest(&last), "answer: last");
        trigger.pull();
        run.join().expect("no panic").expect("it ends well")
    });
    assert_eq!(ended.kept.connections.len(), 1, "the echo goes on");
    assert_eq!(rest(&waiting), "answer: wait");
    assert_eq!(rest(&silent), "");
}
