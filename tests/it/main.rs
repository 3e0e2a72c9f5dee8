//! The tests of the program through its activators, on real sockets.

mod activate;
mod bench;
mod kit;
mod notify;
