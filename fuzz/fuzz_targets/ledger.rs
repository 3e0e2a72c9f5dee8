//! The ledger of kept connections: nothing panics or takes more memory than there are bytes, and
//! what is accepted is written again as the same entries.
#![no_main]

use libfuzzer_sys::fuzz_target;

// No part of the library's interface, so it is compiled in here.
#[allow(dead_code)]
#[path = "../../src/command/keep/ledger.rs"]
mod ledger;

fuzz_target!(|bytes: &[u8]| {
    let Ok(accepted) = ledger::read(&mut &*bytes, bytes.len() as u64) else { return };
    let connections: Vec<_> =
        accepted.connections.iter().map(|(inode, owed)| (*inode, owed.as_deref())).collect();
    let replies: Vec<_> =
        accepted.replies.iter().map(|(inode, bytes)| (*inode, Some(bytes.as_slice()))).collect();
    let mut written = Vec::new();
    ledger::write(&mut written, &connections, &replies).expect("a vector takes everything");
    assert_eq!(written.len(), bytes.len());
    assert_eq!(ledger::read(&mut &*written, bytes.len() as u64).expect("it is one"), accepted);
});
