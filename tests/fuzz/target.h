/* tests/fuzz/target.h - what each fuzz_NAME.c defines. It aborts when a property doesn't hold. */
#ifndef MCP_TESTS_FUZZ_TARGET_H
#define MCP_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
