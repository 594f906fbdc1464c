//! Streams of messages, cut anywhere.

use std::collections::VecDeque;

use futures::StreamExt;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

/// A connection that has these pieces, and is not ready before each.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    was_ready: bool,
}

impl Pieces {
    fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        let (mut rest, mut pieces, mut sizes) = (bytes, VecDeque::new(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            pieces.push_back(piece.to_vec());
            rest = after;
        }
        Self { pieces, was_ready: true }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.was_ready = !self.was_ready;
        if !self.was_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let now = piece.len().min(out.remaining());
            out.put_slice(&piece[..now]);
            let later = piece.split_off(now);
            if !later.is_empty() {
                self.pieces.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

/// Reads what is for the library, so many bytes at once.
async fn library(mut from: Bypass<Pieces>, at_once: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; at_once]);
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(all),
            more => all.extend_from_slice(&buffer[..more]),
        }
    }
}

/// Reads the rows, now and then late.
async fn rows(mut from: mpsc::Receiver<Bytes>, delay: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(rows) = from.next().await {
        for _ in 0..delay {
            tokio::task::yield_now().await;
        }
        all.push(rows);
    }
    all
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Messages amid rows: their kind and body.
fn messages() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let length = prop_oneof![8 => 0..40_usize, 4 => 40..3_000_usize, 1 => 60_000..200_000_usize];
    let kind = prop_oneof![9 => Just(COPY_DATA), 1 => Just(b'N'), 1 => Just(b'S')];
    vec((kind, length.prop_flat_map(|length| vec(any::<u8>(), length))), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_and_messages_arrive_whole_wherever_the_stream_is_cut(
        messages in messages(),
        sizes in vec(prop_oneof![1..20_usize, 1..100_000_usize], 1..8),
        at_once in prop_oneof![1..10_usize, 1..9_000_usize],
        delay in 0..4_usize,
    ) {
        let (mut sent, mut other, mut data) = (message(COPY_OUT_RESPONSE, b"\x01\0\0"), Vec::new(), Vec::new());
        other.extend_from_slice(&sent);
        for (kind, body) in &messages {
            sent.extend(message(*kind, body));
            match *kind {
                COPY_DATA => data.extend_from_slice(body),
                kind => other.extend(message(kind, body)),
            }
        }
        for end in [message(COPY_DONE, b""), message(b'Z', b"T")] {
            sent.extend_from_slice(&end);
            other.extend_from_slice(&end);
        }
        let lane = Lane::default();
        let asked = lane.open();
        let bypass = Bypass::new(Pieces::new(&sent, &sizes), lane);
        let (read, chunks) = run(async { tokio::join!(library(bypass, at_once), rows(asked, delay)) });
        prop_assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_BYTES));
        prop_assert!(chunks.concat() == data);
        prop_assert!(read.unwrap() == other);
    }
}

#[test]
fn rows_that_nobody_wants_any_more_are_passed_over() {
    let row = message(COPY_DATA, &[7; 50_000]);
    let sent = [message(COPY_OUT_RESPONSE, b""), row.repeat(9), message(COPY_DONE, b"")].concat();
    for is_asked in [false, true] {
        let lane = Lane::default();
        if is_asked {
            drop(lane.open());
        }
        let bypass = Bypass::new(Pieces::new(&sent, &[70_000]), lane);
        let read = run(library(bypass, 8192)).unwrap();
        assert_eq!(read, [message(COPY_OUT_RESPONSE, b""), message(COPY_DONE, b"")].concat());
    }
}

#[test]
fn messages_come_together_where_no_rows_are_between_them() {
    let answer = message(b'D', b"value").repeat(100);
    let sent =
        [&answer[..], &message(COPY_OUT_RESPONSE, b"")[..], &message(COPY_DATA, b"row")[..], &answer[..]].concat();
    let lane = Lane::default();
    let _rows = lane.open();
    let mut bypass = Bypass::new(Pieces::new(&sent, &[sent.len()]), lane);
    let mut buffer = vec![0; sent.len()];
    run(async {
        assert_eq!(bypass.read(&mut []).await.unwrap(), 0, "nothing is asked for");
        assert_eq!(bypass.read(&mut buffer).await.unwrap(), answer.len() + HEADER_BYTES);
        assert_eq!(bypass.read(&mut buffer).await.unwrap(), answer.len() / 100);
    });
}

#[test]
fn an_error_ends_the_rows() {
    let sent = [message(COPY_OUT_RESPONSE, b""), message(COPY_DATA, b"row"), message(ERROR_RESPONSE, b"\0")].concat();
    let lane = Lane::default();
    let asked = lane.open();
    let bypass = Bypass::new(Pieces::new(&sent, &[5]), lane);
    let (read, chunks) = run(async { tokio::join!(library(bypass, 3), rows(asked, 0)) });
    assert_eq!((read.unwrap().ends_with(b"E\0\0\0\x05\0"), chunks.concat()), (true, b"row".to_vec()));
}

#[test]
fn a_length_that_is_none_is_an_error_and_not_a_panic() {
    let bypass = Bypass::new(Pieces::new(b"d\0\0\0\x03", &[9]), Lane::default());
    assert_eq!(run(library(bypass, 9)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    // What the library makes of it is its own affair.
    let bypass = Bypass::new(Pieces::new(b"E\0\0\0\x03more", &[9]), Lane::default());
    assert!(run(library(bypass, 9)).unwrap().starts_with(b"E\0\0\0\x03"));
}
