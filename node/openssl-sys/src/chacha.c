/* ChaCha20 and Poly1305 for libssh2, by aws-lc.
 *
 * libssh2 asks the cryptography that it is built on for everything but these two, which it has in portable
 * C: three fifths of what an SFTP upload cost. A program that is linked with `--wrap` for these names (see
 * node/service/build.rs) has libssh2 call what is here instead; without, libssh2 calls its own, and all is
 * the same but slower. tests/ciphers.rs of the service holds them against each other. */

#include <stddef.h>
#include <stdint.h>

#include <openssl/chacha.h>
#include <openssl/mem.h>
#include <openssl/poly1305.h>

#define BLOCK_BYTES 64

/* libssh2's, of chacha.h: constants, key, 64 bits of counter and 64 of nonce, as numbers. */
struct chacha_ctx {
    unsigned int input[16];
};

void __wrap_chacha_encrypt_bytes(struct chacha_ctx *state, const uint8_t *from, uint8_t *to, size_t bytes);
void __wrap_poly1305_auth(uint8_t tag[16], const uint8_t *from, size_t bytes, const uint8_t key[32]);

static void store(uint8_t *to, const unsigned int *words, size_t count)
{
    for(size_t i = 0; i < count; i++) {
        for(size_t byte = 0; byte < 4; byte++)
            to[4 * i + byte] = (uint8_t)(words[i] >> (8 * byte));
    }
}

void __wrap_chacha_encrypt_bytes(struct chacha_ctx *state, const uint8_t *from, uint8_t *to, size_t bytes)
{
    uint8_t key[32];
    store(key, state->input + 4, 8);
    while(bytes) {
        /* aws-lc counts 32 bits of blocks; libssh2's upper half is a part of aws-lc's longer nonce. */
        uint8_t nonce[12];
        store(nonce, state->input + 13, 3);
        uint64_t blocks_left = (UINT64_C(1) << 32) - state->input[12];
        uint64_t blocks = bytes / BLOCK_BYTES + (bytes % BLOCK_BYTES != 0);
        size_t now = bytes;
        if(blocks > blocks_left) {
            blocks = blocks_left;
            now = (size_t)(blocks * BLOCK_BYTES);
        }
        CRYPTO_chacha_20(to, from, now, key, nonce, state->input[12]);
        state->input[12] += (unsigned int)blocks;
        if(!state->input[12])
            state->input[13]++;
        from += now;
        to += now;
        bytes -= now;
    }
    OPENSSL_cleanse(key, sizeof(key));
}

void __wrap_poly1305_auth(uint8_t tag[16], const uint8_t *from, size_t bytes, const uint8_t key[32])
{
    poly1305_state state;
    CRYPTO_poly1305_init(&state, key);
    CRYPTO_poly1305_update(&state, from, bytes);
    CRYPTO_poly1305_finish(&state, tag);
    OPENSSL_cleanse(&state, sizeof(state));
}
