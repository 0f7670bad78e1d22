/* What is known of a map; see below for the two ways in which its values are reached. */
struct fs_map {
	const char *name;
	uint32_t type, key_size, value_size, max_entries, flags;
	const uint8_t *initial; /* content of a global-data section, NULL where it is zero */
	bool internal;		/* a global-data section */
	bool in_place;		/* an update overwrites the element, and does not replace it */
	bool read_only;		/* values may not be written through their address */
	bool wants_mmap;	/* shared by mapping the array */
	bool by_program;	/* accesses are made by a program in the kernel, see accessor.h */
	bool counted;		/* others add to its values, too: additions are made by a program in the kernel */
	bool ages;		/* a lookup keeps the element alive */
	bool shared;		/* other parts use it, too */
	bool written;		/* the program may write through the address of a value */
	/* Set up by the transport. */
	bool in_memory; /* of this process, see table.h */
	int fd;
	uint8_t *direct; /* the values of an array, or NULL */
	uint64_t stride; /* bytes from one value to the next in it */
};
