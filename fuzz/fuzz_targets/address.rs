//! The address grammar: nothing panics, and what is taken round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::Address;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse().as_ref(), Ok(&address));
    }
});
