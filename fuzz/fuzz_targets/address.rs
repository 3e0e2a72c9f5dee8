//! The address grammar: what is taken round-trips, and both it and each error can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::Address;
use socket_activate_echo_fuzz::check_shown;

fuzz_target!(|text: &str| {
    match text.parse::<Address>() {
        Ok(address) => {
            let shown = address.to_string();
            check_shown(&shown);
            assert_eq!(shown.parse().as_ref(), Ok(&address));
            let client = address.to_client();
            assert_eq!((client.style(), client.scheme()), (address.style(), address.scheme()));
        }
        Err(error) => {
            check_shown(&error.to_string());
            if let Some(meant) = error.meant() {
                assert_eq!(meant.to_string().parse().as_ref(), Ok(meant));
            }
        }
    }
});
