//! The tests of the program through its activators, on real sockets.

mod bench;
mod notify;
