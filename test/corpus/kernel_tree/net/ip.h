/* Stands for the kernel's header of this name. */
#define IP_CE 0x8000
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1FFF
static inline _Bool ip_is_fragment(const struct iphdr *iph)
{
	return (iph->frag_off & __builtin_bswap16(IP_MF | IP_OFFSET)) != 0;
}
