//! What RFC 6455 refuses. The same table meets the codec (whole, and octet by octet) and a real
//! socket.

use common::limits::{FRAGMENTS_MAX, FRAME_BYTES_MAX};
use gateway::transport::frame::Assembler;
use protocol::CloseCode;

use super::Bench;
use crate::raw;

/// What is wrong, the octets, the code.
fn table() -> Vec<(String, Vec<u8>, CloseCode)> {
    use CloseCode::{BadUtf8, ProtocolError, TooLarge};
    let whole = |opcode, payload: &[u8]| raw::frame(true, 0, opcode, payload);
    let part = |opcode, payload: &[u8]| raw::frame(false, 0, opcode, payload);
    let mut table = Vec::new();
    let mut add = |what: &str, bytes: Vec<u8>, code| table.push((what.to_owned(), bytes, code));

    // 5.1: clients mask.
    add("unmasked text", b"\x81\x02{}".to_vec(), ProtocolError);
    add("unmasked ping", b"\x89\x00".to_vec(), ProtocolError);
    add("unmasked close", b"\x88\x02\x03\xe8".to_vec(), ProtocolError);
    add("unmasked after a masked fragment", [part(1, b"{"), b"\x80\x01}".to_vec()].concat(), ProtocolError);

    // 5.2: reserved bits and opcodes; lengths in the least number of octets.
    for rsv in 1..8 {
        add(&format!("rsv {rsv}"), raw::frame(true, rsv, 1, b"{}"), ProtocolError);
        add(&format!("rsv {rsv} on a ping"), raw::frame(true, rsv, 9, b""), ProtocolError);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(&format!("opcode {opcode}"), whole(opcode, b""), ProtocolError);
    }
    add("125 in two octets", b"\x81\xfe\x00\x7d\0\0\0\0".to_vec(), ProtocolError);
    add("0 in eight octets", b"\x81\xff\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), ProtocolError);
    add("65535 in eight octets", b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(), ProtocolError);
    add("the highest bit of a length", b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), ProtocolError);
    add("all bits of a length", [b"\x81\xff".to_vec(), vec![0xff; 12]].concat(), ProtocolError);

    // 5.4 and 5.5: fragments and control frames.
    add("nothing to continue", whole(0, b"{}"), ProtocolError);
    add("nothing to continue, not even finally", part(0, b"{"), ProtocolError);
    add("text within a text", [part(1, b"{"), whole(1, b"{}")].concat(), ProtocolError);
    add("binary within a text", [part(1, b"{"), part(2, b"{}")].concat(), ProtocolError);
    for opcode in [8, 9, 10] {
        add(&format!("fragmented control {opcode}"), part(opcode, b""), ProtocolError);
        add(&format!("long control {opcode}"), whole(opcode, &[b'a'; 126]), ProtocolError);
        add(&format!("very long control {opcode}"), whole(opcode, &[b'a'; 65_536]), ProtocolError);
    }

    // 5.5.1 and 7.4: close frames.
    add("a close of one octet", whole(8, b"\x03"), ProtocolError);
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        add(&format!("close code {code}"), whole(8, &code.to_be_bytes()), ProtocolError);
    }
    add("a close reason that is no UTF-8", whole(8, b"\x03\xe8\xff"), BadUtf8);

    // 8.1: UTF-8.
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xce", b"\x80"] {
        add(&format!("text {bad:x?}"), whole(1, bad), BadUtf8);
        add(&format!("text {bad:x?} in fragments"), [part(1, b"{"), whole(0, bad)].concat(), BadUtf8);
    }
    let cut = [part(1, b"\xf0\x9f"), whole(0, b"\x98")].concat();
    add("a character cut for ever", cut, BadUtf8);

    // Ours: sizes, judged by the header alone.
    let over = whole(1, &[b'a'; FRAME_BYTES_MAX + 1]);
    add("one byte too many", over[..14].to_vec(), TooLarge);
    add("terabytes", b"\x81\xff\0\0\x7f\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), TooLarge);
    let over = [part(1, &[b'a'; FRAME_BYTES_MAX]), whole(0, b"a")[..6].to_vec()].concat();
    add("one byte too many, in fragments", over, TooLarge);
    let over = [part(1, b""), part(0, b"").repeat(FRAGMENTS_MAX)].concat();
    add("one fragment too many", over, TooLarge);
    table
}

/// Feeds pieces as a socket's task does, until the codec refuses.
fn refused<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<CloseCode> {
    let (mut assembler, mut rest) = (Assembler::default(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            match assembler.next(&mut rest) {
                Ok(parsed) => {
                    let (more, consumed) = (parsed.frame.is_some(), parsed.consumed);
                    rest.drain(..consumed);
                    if !more {
                        break;
                    }
                }
                Err(code) => return Some(code),
            }
        }
    }
    None
}

#[test]
fn the_codec_refuses_with_the_right_code() {
    for (what, bytes, code) in table() {
        assert_eq!(refused([&bytes[..]].into_iter()), Some(code), "{what}");
        assert_eq!(refused(bytes.chunks(1)), Some(code), "{what}, octet by octet");
    }
}

#[tokio::test]
async fn a_socket_is_closed_with_the_right_code_and_neighbours_stay() {
    let mut bench = Bench::start().await;
    for (what, bytes, code) in table() {
        let mut socket = bench.join().await;
        socket.write(&bytes).await;
        assert_eq!(socket.hear_close().await, code.number(), "{what}");
        bench.neighbour.ping().await;
    }
    // Binary is no violation of the RFC, but nothing we take.
    let mut socket = bench.join().await;
    socket.write(&raw::frame(true, 0, 2, b"\x00")).await;
    assert_eq!(socket.hear_close().await, CloseCode::Unsupported.number());
    bench.finish().await;
}

#[tokio::test]
async fn sockets_that_vanish_halfway_leave_nothing_behind() {
    let bench = Bench::start().await;
    let whole = raw::frame(true, 0, 1, &[b'a'; 40_000]);
    for end in [1, 2, 5, 8, 100, 39_000] {
        let mut socket = bench.join().await;
        socket.write(&whole[..end]).await;
        drop(socket);
    }
    bench.finish().await;
}

#[tokio::test]
async fn bad_sockets_leave_no_memory_behind() {
    let bench = Bench::start().await;
    let table = table();
    let mut before = None;
    for round in 0..24 {
        for (_, bytes, code) in &table {
            let mut socket = bench.join().await;
            socket.write(bytes).await;
            assert_eq!(socket.hear_close().await, code.number());
        }
        if round == 3 {
            // Buffers, allocator and maps have their size by now.
            before = Some(resident_bytes());
        }
    }
    let grown = resident_bytes().saturating_sub(before.unwrap());
    let sockets = 20 * table.len();
    assert!(grown < sockets * 300, "{grown} bytes more after {sockets} bad sockets");
    bench.finish().await;
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
