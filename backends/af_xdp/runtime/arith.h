/* What C leaves undefined and the ISA defines (RFC 9669, section 4): division and sign extension. */

FS_INLINE uint64_t fs_sext(uint64_t word, unsigned int bits)
{
	uint64_t sign = UINT64_C(1) << (bits - 1);

	word &= sign | (sign - 1);
	return (word ^ sign) - sign;
}

FS_INLINE int64_t fs_sar(int64_t word, unsigned int by)
{
	return word >> by; /* arithmetic on every compiler this is built with */
}

FS_INLINE uint64_t fs_div(uint64_t a, uint64_t b)
{
	return b ? a / b : 0;
}

FS_INLINE uint64_t fs_mod(uint64_t a, uint64_t b)
{
	return b ? a % b : a;
}

/* Signed: by zero gives 0, the smallest integer by -1 itself. Operands are sign-extended; cut the result. */
FS_INLINE uint64_t fs_sdiv(int64_t a, int64_t b)
{
	if (b == 0)
		return 0;
	return b == -1 ? -(uint64_t)a : (uint64_t)(a / b);
}

FS_INLINE uint64_t fs_smod(int64_t a, int64_t b)
{
	if (b == 0)
		return (uint64_t)a;
	return b == -1 ? 0 : (uint64_t)(a % b);
}
