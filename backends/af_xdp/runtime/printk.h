/*
 * bpf_trace_printk: %d %i %u %x %X with l and ll, %c %s %p, flags and widths, as the kernel's bpf_bprintf_prepare takes
 * them. The kernel's own kinds of pointers (%pI4, %pB …) are refused like unknown conversions.
 */

enum { FS_LINE = 1024 }; /* BPF_TRACE_PRINTK_SIZE */

struct fs_line {
	char text[FS_LINE];
	size_t length; /* also of what did not fit */
};

FS_API void fs_append(struct fs_line *line, char letter)
{
	if (line->length < FS_LINE - 1)
		line->text[line->length] = letter;
	line->length++;
}

/* The text, padded to `width`: to the left with blanks or (behind a sign) zeros, or to the right. */
FS_API void fs_append_padded(struct fs_line *line, const char *text, size_t width, bool left, bool zeros)
{
	size_t length = strlen(text), missing = width > length ? width - length : 0;

	if (zeros && !left && strchr("+- ", *text) && *text)
		fs_append(line, *text++);
	while (!left && missing) {
		fs_append(line, zeros ? '0' : ' ');
		missing--;
	}
	while (*text)
		fs_append(line, *text++);
	while (missing--)
		fs_append(line, ' ');
}

/* A number's digits, at the end of `digits`; where they begin. */
FS_API char *fs_digits(char digits[24], uint64_t word, char conversion, unsigned int bits, const char *flags)
{
	const char *letters = conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned int base = conversion == 'x' || conversion == 'X' ? 16 : 10;
	bool is_signed = conversion == 'd' || conversion == 'i', negative;
	char *at = digits + 23;

	word &= UINT64_MAX >> (64 - bits);
	negative = is_signed && word >> (bits - 1);
	if (negative)
		word = -fs_sext(word, bits);
	*at = 0;
	do
		*--at = letters[word % base];
	while (word /= base);
	if (negative)
		*--at = '-';
	else if (is_signed && strpbrk(flags, "+ "))
		*--at = strchr(flags, '+') ? '+' : ' ';
	return at;
}

/* One conversion, `text` behind its %: where it ends, or NULL for one that does not exist. */
FS_API const char *fs_convert(struct fs_run *run, struct fs_line *line, const char *text, uint64_t word)
{
	char flags[8] = "", digits[24], string[FS_LINE + 1];
	unsigned int bits = 32;
	size_t width = 0, used = 0;

	for (; *text && strchr("0 +-", *text); text++)
		if (used < sizeof(flags) - 1 && !strchr(flags, *text))
			flags[used++] = *text, flags[used] = 0;
	if (*text >= '1' && *text <= '9')
		for (; *text >= '0' && *text <= '9'; text++)
			width = width < FS_LINE ? width * 10 + (size_t)(*text - '0') : width;
	used = 0;
	if (*text == 's' || *text == 'p') {
		if (text[1] && (text[1] & 0x80 || strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
							 text[1])))
			return NULL;
		if (*text == 'p')
			snprintf(string, sizeof(string), "%016llx", (unsigned long long)word);
		for (; *text == 's' && used < FS_LINE && fs_any_holds(run, word + used, 1, false); used++) {
			string[used] = *(const char *)(uintptr_t)(word + used);
			if (!string[used])
				break;
		}
		if (*text == 's')
			string[used < FS_LINE && fs_any_holds(run, word + used, 1, false) ? used : 0] = 0;
		fs_append_padded(line, string, width, strchr(flags, '-'), false);
		return text + 1;
	}
	if (*text == 'c') {
		/* A NUL is a letter like others. */
		for (size_t i = 1; i < width && !strchr(flags, '-'); i++)
			fs_append(line, ' ');
		fs_append(line, (char)word);
		for (size_t i = 1; i < width && strchr(flags, '-'); i++)
			fs_append(line, ' ');
		return text + 1;
	}
	for (; *text == 'l' && used < 2; text++, used++)
		bits = 64;
	if (!*text || !strchr("iduxX", *text))
		return NULL;
	fs_append_padded(line, fs_digits(digits, word, *text, bits, flags), width, strchr(flags, '-'),
			 strchr(flags, '0'));
	return text + 1;
}

FS_API uint64_t fs_bpf_trace_printk(struct fs_run *run, uint64_t format, uint64_t size, uint64_t a1, uint64_t a2,
				    uint64_t a3)
{
	const char *text = (const char *)fs_buffer(run, format, (uint32_t)size, false);
	const uint64_t arguments[] = { a1, a2, a3 };
	struct fs_line line = { .length = 0 };
	size_t used = 0;

	if (!text || !memchr(text, 0, (uint32_t)size))
		return (uint64_t)-FS_EINVAL;
	for (const char *at = text; *at; at++)
		if (!(*at & 0x80) && (*at < 9 || (*at > 13 && *at < 32) || *at == 127))
			return (uint64_t)-FS_EINVAL;
	while (*text) {
		if (*text != '%' || text[1] == '%') {
			fs_append(&line, *text);
			text += *text == '%' ? 2 : 1;
			continue;
		}
		text = used < 3 ? fs_convert(run, &line, text + 1, arguments[used++]) : NULL;
		if (!text)
			return (uint64_t)-FS_EINVAL;
	}
	fs_env_print(run, line.text, line.length < FS_LINE ? line.length : FS_LINE - 1);
	return line.length;
}
