//! Bytes between programs: batches, and the bodies of their envelopes. What is read is written the
//! same way again.

#![no_main]

use bytes::Bytes;
use common::bus::Envelope;
use protocol::{ApiRequest, ApiResponse, Control, Downlink, Uplink, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(envelopes) = Envelope::decode_batch(Bytes::copy_from_slice(input)) {
        assert_eq!(Envelope::encode_batch(envelopes.iter()), input);
        for envelope in envelopes {
            bodies(&envelope.body);
        }
    }
    bodies(input);
});

fn bodies(bytes: &[u8]) {
    macro_rules! read {
        ($($kind:ty),*) => {$(
            if let Ok(thing) = decode::<$kind>(bytes) {
                let again = encode(&thing);
                assert_eq!(decode::<$kind>(&again).as_ref(), Ok(&thing));
            }
        )*};
    }
    read!(Uplink, Downlink<'_>, Control, ApiRequest, ApiResponse);
}
