/* remote/crc32c.h: CRC-32 with Castagnoli's polynomial, as the frames of streamed remote read carry it.
 *
 * Reflected polynomial 0x82F63B78, start and final xor all ones (RFC 3720 appendix B.4; Go hash/crc32.Castagnoli).
 * Threads: any.
 */
#ifndef PROMSPLIT_REMOTE_CRC32C_H
#define PROMSPLIT_REMOTE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` stands for (0: nothing) followed by n more bytes. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

/* The same as processors without an instruction for it have it. */
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t n);

#endif
