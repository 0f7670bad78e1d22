// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* The library of library.c: stands for one of regular expressions. */
#include <stdint.h>
#include <string.h>

int32_t regex_match(const void *text, uint32_t size, uint32_t flags)
{
	const char *at = text;

	for (uint32_t i = 0; i + 4 <= size; i++)
		if (!memcmp(at + i, "evil", 4))
			return (int32_t)i + 1;
	return flags & 1 ? -1 : 0;
}

void mask(void *text, uint32_t size)
{
	for (uint8_t *at = text; size--; at++)
		if (*at >= '0' && *at <= '9')
			*at = '#';
}
