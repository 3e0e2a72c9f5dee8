//! Replies that another process has kept: nothing panics, and what is accepted has one meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;

use encoding::{decode, encode};

// No parts of the library's interface, so they are compiled in here.
#[allow(dead_code, unexpected_cfgs)]
#[path = "../../src/sys/mod.rs"]
mod sys;

#[path = "../../src/server/datagram/encoding.rs"]
mod encoding;

fuzz_target!(|bytes: &[u8]| {
    if let Some(replies) = decode(bytes) {
        assert_eq!(encode(replies).expect("memory"), bytes);
    }
});
