/* Stands for the kernel's header of this name. */
#include_next <linux/if_vlan.h>
struct vlan_hdr {
	__be16 h_vlan_TCI;
	__be16 h_vlan_encapsulated_proto;
};
