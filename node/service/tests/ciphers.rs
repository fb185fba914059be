//! What aws-lc does for libssh2 is what libssh2 would have done itself.
//!
//! A program of this package has libssh2's calls of two functions led to others (`build.rs`). Here both
//! are called: by its own name the one that libssh2 gets, and as `__real_…` libssh2's own.

#![expect(unsafe_code, reason = "functions of libssh2 that no crate wraps")]

use ssh2 as _;

/// `struct chacha_ctx` of libssh2.
#[repr(C)]
#[derive(Debug, Clone, PartialEq)]
struct Chacha {
    input: [u32; 16],
}

unsafe extern "C" {
    fn chacha_encrypt_bytes(state: *mut Chacha, from: *const u8, to: *mut u8, bytes: usize);
    fn __real_chacha_encrypt_bytes(state: *mut Chacha, from: *const u8, to: *mut u8, bytes: usize);
    fn poly1305_auth(tag: *mut u8, from: *const u8, bytes: usize, key: *const u8);
    fn __real_poly1305_auth(tag: *mut u8, from: *const u8, bytes: usize, key: *const u8);
}

/// Lengths around blocks, and those of packets.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=520).chain([1023, 1024, 1025, 4096, 32_768, 35_000])
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut word = u64::from(seed) * 2 + 1;
    let mut next = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn state(counter: u64) -> Chacha {
    let mut input = [0; 16];
    for (word, bytes) in input.iter_mut().zip(b"expand 32-byte k".as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    for (word, bytes) in input[4..12].iter_mut().zip(noise(32, 1).as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    (input[12], input[13]) = (counter as u32, (counter >> 32) as u32);
    (input[14], input[15]) = (0x0102_0304, 0xfffe_fdfc);
    Chacha { input }
}

#[test]
fn chacha20_is_the_same_in_place_and_aside_for_every_length_and_counter() {
    let last = u64::from(u32::MAX);
    for counter in [0, 1, 7, last - 1, last, last + 1, (last << 32) | last] {
        for bytes in lengths() {
            let plain = noise(bytes, 2);
            let (mut ours, mut theirs) = (state(counter), state(counter));
            let (mut by_us, mut by_them) = (vec![0; bytes], vec![0; bytes]);
            let mut in_place = plain.clone();
            // SAFETY: all buffers are as long as is said, and both functions keep to that.
            unsafe {
                chacha_encrypt_bytes(&mut ours, plain.as_ptr(), by_us.as_mut_ptr(), bytes);
                let to = by_them.as_mut_ptr();
                __real_chacha_encrypt_bytes(&mut theirs, plain.as_ptr(), to, bytes);
                let at = in_place.as_mut_ptr();
                chacha_encrypt_bytes(&mut state(counter), at, at, bytes);
            }
            assert_eq!(by_us, by_them, "{bytes} bytes from block {counter}");
            assert_eq!(in_place, by_them, "{bytes} bytes in place from block {counter}");
            assert_eq!(ours, theirs, "what follows {bytes} bytes from block {counter}");
            assert!(bytes < 16 || by_us != plain, "{bytes} bytes were not enciphered");
        }
    }
}

#[test]
fn poly1305_is_the_same_for_every_length() {
    // The second has the bits set that the algorithm takes out of a key.
    for key in [noise(32, 3), vec![0xff; 32]] {
        for bytes in lengths() {
            for from in [noise(bytes, 4), vec![0xff; bytes]] {
                let (mut by_us, mut by_them) = ([0; 16], [0; 16]);
                // SAFETY: as above; a tag has 16 bytes and a key 32.
                unsafe {
                    poly1305_auth(by_us.as_mut_ptr(), from.as_ptr(), bytes, key.as_ptr());
                    __real_poly1305_auth(by_them.as_mut_ptr(), from.as_ptr(), bytes, key.as_ptr());
                }
                assert_eq!(by_us, by_them, "{bytes} bytes");
            }
        }
    }
}

#[test]
fn libssh2_itself_is_led_to_other_functions() {
    // A name that is its own says that the linker led nothing anywhere.
    let [chacha, theirs] = [chacha_encrypt_bytes, __real_chacha_encrypt_bytes];
    assert!(!std::ptr::fn_addr_eq(chacha, theirs), "ChaCha20 is libssh2's own");
    let [poly1305, theirs] = [poly1305_auth, __real_poly1305_auth];
    assert!(!std::ptr::fn_addr_eq(poly1305, theirs), "Poly1305 is libssh2's own");
}
