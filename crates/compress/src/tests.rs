//! Both codecs, over a pipe in memory: against themselves, against the blocking ones of `snap` and `flate2`, and against noise.

use std::io::{self, Read, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

#[derive(Debug, Clone, Copy)]
enum Compression {
    Snappy,
    Deflate { level: u8 },
}

const BOTH: [Compression; 2] = [Compression::Snappy, Compression::Deflate { level: 6 }];

fn layer(pipe: DuplexStream, compression: Compression) -> Layer<DuplexStream> {
    match compression {
        Compression::Snappy => Layer::snappy(pipe),
        Compression::Deflate { level } => Layer::deflate(pipe, level),
    }
}

/// A layer, and the bare other end of its pipe.
fn layer_and_pipe(compression: Compression, pipe_bytes: usize) -> (Layer<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(pipe_bytes);
    (layer(near, compression), far)
}

/// What the stream makes of `encoded`, up to an end or an error.
async fn decode(compression: Compression, encoded: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let (mut stream, mut pipe) = layer_and_pipe(compression, encoded.len() + 1);
    pipe.write_all(encoded).await.unwrap();
    drop(pipe);
    let mut plain = Vec::new();
    let result = stream.read_to_end(&mut plain).await;
    (plain, result.map(drop))
}

/// What the stream writes for `plain`, flushed and not shut down.
async fn encode(compression: Compression, plain: &[u8]) -> Vec<u8> {
    let (mut stream, mut pipe) = layer_and_pipe(compression, 1 << 24);
    stream.write_all(plain).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    let mut encoded = Vec::new();
    pipe.read_to_end(&mut encoded).await.unwrap();
    encoded
}

/// Half of it compresses, half does not.
fn mixed(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|i| if i / 50_000 % 2 == 0 { (i / 1000) as u8 } else { noise() }).collect()
}

fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::to_le_bytes(content.len() as u32);
    [&[kind][..], &len[..3], content].concat()
}

fn with_crc(plain: &[u8], block: &[u8]) -> Vec<u8> {
    [&snappy::masked(plain).to_le_bytes()[..], block].concat()
}

#[tokio::test]
async fn what_goes_in_comes_out_through_a_narrow_pipe() {
    for compression in BOTH {
        for len in [0, 1, 100, 65_535, 65_536, 65_537, 300_000] {
            let (near, far) = duplex(777);
            let mut near = layer(near, compression);
            let mut far = layer(far, compression);
            let plain = mixed(len);
            let send = async {
                near.write_all(&plain).await.unwrap();
                near.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (_, read) = tokio::join!(send, far.read_to_end(&mut received));
            read.unwrap();
            assert!(received == plain, "{compression:?}, {len} bytes");
        }
    }
}

#[tokio::test]
async fn a_flush_is_enough_for_the_peer_to_read_all_of_it() {
    for compression in BOTH {
        let (near, far) = duplex(1 << 20);
        let mut near = layer(near, compression);
        let mut far = layer(far, compression);
        for i in 0..100_u8 {
            let plain = vec![i; 1 + usize::from(i) * 300];
            near.write_all(&plain).await.unwrap();
            near.flush().await.unwrap();
            let mut received = vec![0; plain.len()];
            far.read_exact(&mut received).await.unwrap();
            assert_eq!(received, plain);
        }
    }
}

#[tokio::test]
async fn one_side_reads_while_it_cannot_write() {
    for compression in BOTH {
        let (mut stream, mut pipe) = layer_and_pipe(compression, 4096);
        let hello = encode(compression, b"hello").await;
        // Noise, and nobody takes it: the write must end up waiting.
        let full = std::future::poll_fn(|cx| {
            for _ in 0..1000 {
                if Pin::new(&mut stream).poll_write(cx, &mixed(100_000)[50_000..]).is_pending() {
                    return Poll::Ready(true);
                }
            }
            Poll::Ready(false)
        });
        assert!(full.await);
        pipe.write_all(&hello).await.unwrap();
        let mut received = [0; 5];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"hello");
    }
}

#[tokio::test]
async fn the_blocking_codecs_understand_it_and_are_understood() {
    let plain = mixed(200_000);
    let mut decoded = Vec::new();
    let encoded = encode(Compression::Snappy, &plain).await;
    snap::read::FrameDecoder::new(&encoded[..]).read_to_end(&mut decoded).unwrap();
    assert!(decoded == plain);
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(&plain).unwrap();
    let (decoded, result) = decode(Compression::Snappy, &encoder.into_inner().unwrap()).await;
    assert!(result.is_ok() && decoded == plain);

    let encoded = encode(Compression::Deflate { level: 1 }, &plain).await;
    let mut decoded = vec![0; plain.len()];
    flate2::read::DeflateDecoder::new(&encoded[..]).read_exact(&mut decoded).unwrap();
    assert!(decoded == plain);
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&plain).unwrap();
    let (decoded, result) = decode(Compression::Deflate { level: 1 }, &encoder.finish().unwrap()).await;
    assert!(result.is_ok() && decoded == plain);
}

#[tokio::test]
async fn every_chunk_that_the_format_knows_is_taken() {
    let hello = framed(0x01, &with_crc(b"hello", b"hello"));
    let identifier = framed(0xff, b"sNaPpY");
    let padding = framed(0xfe, &[0; 70_000]);
    let skippable = framed(0x80, b"whatever");
    let stream = [&identifier[..], &padding, &hello, &identifier, &skippable, &hello].concat();
    let (plain, result) = decode(Compression::Snappy, &stream).await;
    assert!(result.is_ok());
    assert_eq!(plain, b"hellohello");
}

#[tokio::test]
async fn corrupt_snappy_is_an_error() {
    let identifier = framed(0xff, b"sNaPpY");
    let oversized = snap::raw::Encoder::new().compress_vec(&[0; 65_537]).unwrap();
    for (what, chunk) in [
        ("reserved type", framed(0x02, b"xxxx")),
        ("no room for the checksum", framed(0x00, b"xxx")),
        ("wrong checksum", framed(0x01, &with_crc(b"hellp", b"hello"))),
        ("wrong checksum over a block", framed(0x00, &with_crc(b"x", b"\x01\x00y"))),
        ("a block that copies from before its start", framed(0x00, &with_crc(b"aaaa", b"\x04\x01\x05"))),
        ("plain over 64 KiB", framed(0x01, &with_crc(&[0; 65_537], &[0; 65_537]))),
        ("a block of over 64 KiB", framed(0x00, &with_crc(&[0; 65_537], &oversized))),
        ("a block that claims 4 GiB", framed(0x00, &with_crc(b"", b"\xff\xff\xff\xff\x0f"))),
        ("compressed over its bound", framed(0x00, &[0; 76_496])),
        ("another stream", framed(0xff, b"sNaPpX")),
        ("an identifier of another length", framed(0xff, b"sNaPpYY")),
    ] {
        let (plain, result) = decode(Compression::Snappy, &[&identifier[..], &chunk].concat()).await;
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData), "{what}");
        assert_eq!(plain, b"", "{what}");
    }
    let (_, result) = decode(Compression::Snappy, &framed(0x01, &with_crc(b"hello", b"hello"))).await;
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData, "no identifier");
}

#[tokio::test]
async fn corruption_stays_an_error() {
    let bad = [framed(0xff, b"sNaPpY"), framed(0x01, &with_crc(b"hellp", b"hello"))].concat();
    for (compression, bad) in
        [(Compression::Snappy, &bad[..]), (Compression::Deflate { level: 6 }, b"\xff\xff")]
    {
        let (mut stream, mut pipe) = layer_and_pipe(compression, 1024);
        pipe.write_all(bad).await.unwrap();
        for _ in 0..3 {
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{compression:?}");
        }
    }
}

#[tokio::test]
async fn an_end_within_a_chunk_is_an_error() {
    let encoded = encode(Compression::Snappy, b"hello").await;
    for cut in 1..encoded.len() {
        let (plain, result) = decode(Compression::Snappy, &encoded[..cut]).await;
        assert_eq!(plain, b"");
        // Between identifier and chunk it is a plain end.
        assert_eq!(result.is_err(), cut != 10, "cut at {cut}");
    }
}

#[tokio::test]
async fn an_idle_stream_keeps_little() {
    let (near, far) = duplex(1 << 20);
    let mut near = Snappy::new(near);
    let mut far = Snappy::new(far);
    let plain = mixed(600_000);
    let (sent, read) = tokio::join!(
        async {
            near.write_all(&plain).await?;
            near.flush().await
        },
        async { far.read_exact(&mut vec![0; plain.len()]).await }
    );
    sent.unwrap();
    read.unwrap();
    assert!(far.buffered_capacity() <= 32 * 1024, "{}", far.buffered_capacity());
    assert!(near.buffered_capacity() <= 32 * 1024, "{}", near.buffered_capacity());
}

/// Runs to the end without a runtime: a pipe that nobody else holds is never left pending for long.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn noise_is_never_more_than_an_error() {
    bolero::check!().for_each(|noise: &[u8]| {
        for compression in BOTH {
            block_on(async {
                let (stream, mut pipe) = layer_and_pipe(compression, 1 << 20);
                pipe.write_all(&noise[..noise.len().min(1 << 20)]).await.unwrap();
                drop(pipe);
                // Deflate may make a thousand of one byte; a bound is the reader's to set.
                let mut plain = Vec::new();
                let _end = stream.take(1 << 20).read_to_end(&mut plain).await;
            });
        }
    });
}

#[test]
fn a_flipped_bit_is_never_taken_for_another_message() {
    let plain = mixed(60_000);
    let encoded = block_on(encode(Compression::Snappy, &plain));
    bolero::check!().with_type::<(usize, u8)>().for_each(|(place, bit)| {
        let mut bent = encoded.clone();
        let place = place % bent.len();
        bent[place] ^= 1 << (bit % 8);
        let (decoded, result) = block_on(decode(Compression::Snappy, &bent));
        // Some bits do not matter to the decompressor, and one of the chunk's type turns it into a skippable one; else the checksum tells.
        assert!(result.is_err() || decoded.is_empty() || decoded == plain, "bit {bit} of byte {place}");
    });
}
