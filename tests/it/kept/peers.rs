//! Peers that go on while servers come and go. Each checks every byte that comes back.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use socket2::Socket;

use crate::clients::pattern;
use crate::kit::DEADLINE;

/// More than the kernel and the server take of a peer that does not read.
const STALL_BYTES: usize = 16 << 20;
/// The same in empty messages, which use up a send buffer too.
const STALL_MESSAGES: usize = 5000;
/// What a peer sends before its end fits into the buffers on the way.
const HALF_CLOSE_BYTES: usize = 150_000;
/// Sizes of messages, or of writes to a stream.
const SMALL: usize = 1000;
const LARGE: usize = 32 * 1024;

/// What a peer does until it is told to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Idle,
    /// Waits for each reply.
    Exchange,
    /// Sends and receives at the same time.
    Bulk,
    /// Sends, and reads only in the end.
    Stall,
    /// The same with empty messages.
    StallEmpty,
    /// Sends, then its end, and reads only in the end.
    HalfClose,
}

impl Act {
    /// Whether it makes progress all the time.
    pub(super) fn moves(self) -> bool {
        matches!(self, Self::Exchange | Self::Bulk)
    }

    /// Whether it is owed something for sure, unless it reads.
    pub(super) fn stalls(self) -> bool {
        matches!(self, Self::Stall | Self::StallEmpty)
    }
}

pub(super) struct Peers {
    list: Vec<Peer>,
    progress: Receiver<usize>,
    bytes: u64,
}

struct Peer {
    act: Act,
    finishes: Arc<AtomicBool>,
    /// It returns how many bytes were sent.
    thread: Option<JoinHandle<usize>>,
}

impl Peers {
    /// One for each act. They send messages if `is_message`, or else a stream.
    pub(super) fn start(is_message: bool, connect: impl Fn() -> Socket) -> Self {
        let (sender, progress) = mpsc::channel();
        let acts = [Act::Idle, Act::Exchange, Act::Bulk, Act::Stall, Act::HalfClose];
        let empty = is_message.then_some(Act::StallEmpty);
        let peer = |(number, act)| {
            let finishes = Arc::new(AtomicBool::new(false));
            let talk = Talk {
                number,
                socket: connect(),
                is_message,
                finishes: Arc::clone(&finishes),
                progress: sender.clone(),
            };
            let thread = Some(std::thread::spawn(move || talk.run(act)));
            Peer { act, finishes, thread }
        };
        let list = acts.into_iter().chain(empty).enumerate().map(peer).collect();
        Self { list, progress, bytes: 0 }
    }

    /// Waits until each that moves has moved from now on.
    pub(super) fn expect_progress(&self) {
        while self.progress.try_recv().is_ok() {}
        let mut waiting: Vec<_> =
            (0..self.list.len()).filter(|&number| self.list[number].act.moves()).collect();
        while !waiting.is_empty() {
            let number = self.progress.recv_timeout(DEADLINE).expect("progress");
            waiting.retain(|&other| other != number);
        }
    }

    pub(super) fn count(&self, is_it: impl Fn(Act) -> bool) -> usize {
        self.list.iter().filter(|peer| is_it(peer.act)).count()
    }

    /// Lets those finish whose act `is_it`, and expects that they got all that they were owed.
    pub(super) fn finish(&mut self, is_it: impl Fn(Act) -> bool) {
        for peer in self.list.iter_mut().filter(|peer| is_it(peer.act)) {
            let Some(thread) = peer.thread.take() else { continue };
            peer.finishes.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let sent = thread.join().unwrap_or_else(|_| panic!("{:?} has failed", peer.act));
            self.bytes += sent as u64;
        }
    }

    /// How many bytes those have sent that have finished.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The work of one peer.
struct Talk {
    number: usize,
    socket: Socket,
    is_message: bool,
    finishes: Arc<AtomicBool>,
    progress: Sender<usize>,
}

impl Talk {
    /// Returns how many bytes were sent.
    fn run(self, act: Act) -> usize {
        let sent = match act {
            Act::Idle => self.exchange(&[9], || self.wait()),
            Act::Exchange => {
                let empty = usize::from(!self.is_message);
                self.exchange(&[64, 1, 4096, empty, 20_000, 300], || self.report())
            }
            Act::Bulk => {
                let goes_on = |_| !self.finishes.load(Ordering::Relaxed);
                self.pump(LARGE, goes_on, || (), || self.report())
            }
            Act::Stall => self.pump(LARGE, |sent| sent < STALL_BYTES, || self.wait(), || ()),
            Act::HalfClose => {
                self.pump(SMALL, |sent| sent < HALF_CLOSE_BYTES, || self.wait(), || ())
            }
            Act::StallEmpty => self.stall_empty(),
        };
        assert_eq!((&self.socket).read(&mut [0]).expect("the end"), 0, "{act:?}");
        sent
    }

    fn report(&self) {
        let _ = self.progress.send(self.number);
    }

    /// Does nothing until it is time to finish.
    fn wait(&self) {
        while !self.finishes.load(Ordering::Relaxed) {
            std::thread::park();
        }
    }

    fn end(&self) {
        self.socket.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Sends one message after the other, and waits for each to come back.
    fn exchange(&self, sizes: &[usize], then: impl Fn()) -> usize {
        let (mut sent, mut received) = (0, 0);
        for len in sizes.iter().cycle() {
            let finishes = self.finishes.load(Ordering::Relaxed);
            self.send(sent, *len);
            sent += len;
            loop {
                let count = self.receive(received);
                assert!(!self.is_message || count == *len, "{count} bytes for a message of {len}");
                assert!(self.is_message || count > 0, "the end comes too early");
                received += count;
                if received == sent {
                    break;
                }
            }
            if finishes {
                break;
            }
            then();
        }
        self.end();
        sent
    }

    /// Sends messages of one size while `goes_on`, and then its end; reads from the end of `wait` on.
    fn pump(
        &self,
        size: usize,
        goes_on: impl Fn(usize) -> bool + Send,
        wait: impl Fn(),
        then: impl Fn(),
    ) -> usize {
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let mut sent = 0;
                while goes_on(sent) {
                    self.send(sent, size);
                    sent += size;
                }
                self.end();
                sent
            });
            wait();
            let mut received = 0;
            loop {
                let count = self.receive(received);
                if count == 0 {
                    break;
                }
                assert!(!self.is_message || count == size, "{count} bytes for a message of {size}");
                received += count;
                then();
            }
            let sent = sender.join().expect("it sends");
            assert_eq!(received, sent, "bytes that came back, and that were sent");
            sent
        })
    }

    fn stall_empty(&self) -> usize {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..STALL_MESSAGES).for_each(|_| self.send(0, 0)));
            self.wait();
            for _ in 0..STALL_MESSAGES {
                assert_eq!(self.receive(0), 0);
            }
        });
        // An end is as empty as they are, so one with bytes shows that they were all.
        self.exchange(&[1], || ())
    }

    fn send(&self, position: usize, len: usize) {
        if self.is_message {
            assert_eq!(self.socket.send(content(position, len)).expect("send"), len);
        } else {
            (&self.socket).write_all(content(position, len)).expect("send");
        }
    }

    /// Receives what there is, or one message, and checks it.
    fn receive(&self, position: usize) -> usize {
        let mut buffer = [0; 2 * LARGE];
        let count = (&self.socket).read(&mut buffer).expect("receive");
        assert!(buffer[..count] == *content(position, count), "other bytes at {position}");
        count
    }
}

/// What a peer sends at this position.
fn content(position: usize, len: usize) -> &'static [u8] {
    /// A prime, so that no buffer's size repeats it.
    const PERIOD: usize = 1_048_573;
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let once = pattern(PERIOD);
        once.iter().chain(&once[..2 * LARGE]).copied().collect()
    });
    let start = position % PERIOD;
    &table[start..start + len]
}
