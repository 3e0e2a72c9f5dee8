//! The tests of the program through its activators, on real sockets.

mod activate;
mod kit;
mod notify;
