//! Bytes between programs: damaged, cut, of another version, or of nobody.

use bytes::Bytes;
use common::bus::{Envelope, Subject};
use proptest::prelude::*;
use protocol::events::message::MessageRead;
use protocol::ids::{Guid, LoginId, NodeId, SocketId, UserId};
use protocol::{
    self, Account, ApiRequest, ApiResponse, Control, Downlink, Forms, Lane, Recipients, RequestHeaders,
    ResponseHeaders, Role, Sender, Timestamp, Uplink, Urgency,
};

/// What each reader makes of the bytes: none may panic, all may refuse.
fn read_as_everything(bytes: &[u8]) -> [bool; 6] {
    [
        Envelope::decode_batch(Bytes::copy_from_slice(bytes)).is_ok(),
        protocol::decode::<Uplink>(bytes).is_ok(),
        protocol::decode::<Downlink<'_>>(bytes).is_ok(),
        protocol::decode::<Control>(bytes).is_ok(),
        protocol::decode::<ApiRequest>(bytes).is_ok(),
        protocol::decode::<ApiResponse>(bytes).is_ok(),
    ]
}

fn uplink() -> Uplink {
    let socket = Some(SocketId { node: NodeId(1), serial: 2 });
    let from = Sender { user: UserId(7), socket };
    Uplink::of::<MessageRead>(from, Timestamp(5), r#"{"conversationId":3,"messageId":4}"#).unwrap()
}

fn downlink() -> Downlink<'static> {
    Downlink {
        to: Recipients::Users(vec![UserId(7), UserId(8)]),
        forms: Forms::All,
        urgency: Urgency::Latest(9),
        event: "typing",
        data: "{}",
        lane: Some(Lane::Low),
        since: Some(Timestamp(7)),
        origin: None,
        outcome: None,
        context: None,
        tag: None,
    }
}

fn whole() -> [Bytes; 5] {
    let account = Account { user: UserId(7), login: LoginId(1), role: Role::User, expires_s: 9 };
    let request = ApiRequest {
        method: "POST".into(),
        path: "/auth/login".into(),
        query: String::new(),
        account: Some(account),
        address: [127, 0, 0, 1].into(),
        body: b"{}".to_vec(),
        headers: RequestHeaders::default(),
    };
    let batch = [
        Envelope {
            subject: Subject::new("high.sendMessage").unwrap(),
            key: 7,
            body: protocol::encode(&uplink()),
        },
        Envelope { subject: Subject::new("deliver.1").unwrap(), key: 0, body: protocol::encode(&downlink()) },
    ];
    [
        Envelope::encode_batch(batch.iter()),
        protocol::encode(&uplink()),
        protocol::encode(&downlink()),
        protocol::encode(&request),
        protocol::encode(&ApiResponse {
            status: 200,
            body: b"{}".to_vec(),
            headers: ResponseHeaders::default(),
        }),
    ]
}

#[test]
fn nobodys_bytes_are_refused() {
    assert_eq!(read_as_everything(b""), [false; 6]);
    let huge = [&[1][..], &[0xff; 40]].concat();
    let foreign: [&[u8]; 5] = [b"{}", b"\x00", b"\x02\x00\x00", b"GET / HTTP/1.1\r\n\r\n", &huge];
    for bytes in foreign {
        assert_eq!(read_as_everything(bytes), [false; 6], "{bytes:x?}");
    }
}

#[test]
fn bytes_that_were_cut_are_refused() {
    let [batch, uplink, downlink, ..] = whole();
    for end in 0..uplink.len() {
        assert!(protocol::decode::<Uplink>(&uplink[..end]).is_err(), "{end}");
    }
    for end in 0..downlink.len() {
        assert!(protocol::decode::<Downlink<'_>>(&downlink[..end]).is_err(), "{end}");
    }
    let first = batch.len() - downlink.len() - 2 - "deliver.1".len() - 12;
    for end in (0..batch.len()).filter(|end| ![1, first].contains(end)) {
        assert!(Envelope::decode_batch(batch.slice(..end)).is_err(), "{end}");
    }
}

#[test]
fn another_version_is_refused() {
    for bytes in whole() {
        let mut bytes = bytes.to_vec();
        // 1 is that of a batch of envelopes, 2 that of a thing.
        for version in (0..=255).filter(|version| ![1, 2].contains(version)) {
            bytes[0] = version;
            assert_eq!(read_as_everything(&bytes), [false; 6], "version {version}");
        }
    }
}

#[test]
fn a_guid_is_checked_between_programs_too() {
    #[derive(serde::Serialize)]
    struct Unchecked(&'static str);
    let good = protocol::encode(&Unchecked("g-1"));
    assert_eq!(protocol::decode(&good), Ok(Guid::new("g-1").unwrap()));
    assert!(protocol::decode::<Guid>(&protocol::encode(&Unchecked("a b"))).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
        if let Some(version) = bytes.first_mut() {
            *version = 2;
        }
        read_as_everything(&bytes);
    }

    #[test]
    fn damaged_bytes_never_panic(
        which in 0..5_usize, harm in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = whole()[which].to_vec();
        for (place, byte) in harm {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_as_everything(&bytes);
    }
}
