"""The declarations that `#include <core.p4>` and `#include <v1model.p4>` bring, as P4 text of our own.

Written from the P4_16 specification and the v1model documentation. What the interpreter cannot execute (clone,
resubmit, recirculate, action profiles) is absent, so using it is an error at its place instead of a wrong run.
"""

CORE = """
error { NoError, PacketTooShort, NoMatch, StackOutOfBounds, HeaderTooShort, ParserTimeout, ParserInvalidArgument }
match_kind { exact, ternary, lpm }
extern packet_in {
    void extract<T>(out T hdr);
    void extract<T>(out T variableSizeHeader, in bit<32> variableFieldSizeInBits);
    T lookahead<T>();
    void advance(in bit<32> sizeInBits);
    bit<32> length();
}
extern packet_out { void emit<T>(in T hdr); }
extern void verify(in bool check, in error toSignal);
action NoAction() {}
"""

V1MODEL = """
match_kind { range, optional, selector }
struct standard_metadata_t {
    bit<9> ingress_port;
    bit<9> egress_spec;
    bit<9> egress_port;
    bit<32> instance_type;
    bit<32> packet_length;
    bit<32> enq_timestamp;
    bit<19> enq_qdepth;
    bit<32> deq_timedelta;
    bit<19> deq_qdepth;
    bit<48> ingress_global_timestamp;
    bit<48> egress_global_timestamp;
    bit<16> mcast_grp;
    bit<16> egress_rid;
    bit<1> checksum_error;
    error parser_error;
    bit<3> priority;
}
enum CounterType { packets, bytes, packets_and_bytes }
enum MeterType { packets, bytes }
enum HashAlgorithm { crc32, crc32_custom, crc16, crc16_custom, random, identity, csum16, xor16 }
enum CloneType { I2E, E2E }
extern counter { counter(bit<32> size, CounterType type); void count(in bit<32> index); }
extern direct_counter { direct_counter(CounterType type); void count(); }
extern meter { meter(bit<32> size, MeterType type); void execute_meter<T>(in bit<32> index, out T result); }
extern direct_meter<T> { direct_meter(MeterType type); void read(out T result); }
extern register<T> {
    register(bit<32> size);
    void read(out T result, in bit<32> index);
    void write(in bit<32> index, in T value);
}
extern void random<T>(out T result, in T lo, in T hi);
extern void digest<T>(in bit<32> receiver, in T data);
extern void mark_to_drop(inout standard_metadata_t standard_metadata);
extern void hash<O, T, D, M>(out O result, in HashAlgorithm algo, in T base, in D data, in M max);
extern void verify_checksum<T, O>(in bool condition, in T data, in O checksum, HashAlgorithm algo);
extern void update_checksum<T, O>(in bool condition, in T data, inout O checksum, HashAlgorithm algo);
extern void verify_checksum_with_payload<T, O>(in bool condition, in T data, in O checksum, HashAlgorithm algo);
extern void update_checksum_with_payload<T, O>(in bool condition, in T data, inout O checksum, HashAlgorithm algo);
extern void truncate(in bit<32> length);
extern void assert(in bool check);
extern void assume(in bool check);
extern void log_msg(string msg);
extern void log_msg<T>(string msg, in T data);
parser Parser<H, M>(packet_in b, out H parsedHdr, inout M meta, inout standard_metadata_t standard_metadata);
control VerifyChecksum<H, M>(inout H hdr, inout M meta);
control Ingress<H, M>(inout H hdr, inout M meta, inout standard_metadata_t standard_metadata);
control Egress<H, M>(inout H hdr, inout M meta, inout standard_metadata_t standard_metadata);
control ComputeChecksum<H, M>(inout H hdr, inout M meta);
control Deparser<H>(packet_out b, in H hdr);
package V1Switch<H, M>(Parser<H, M> p, VerifyChecksum<H, M> vr, Ingress<H, M> ig, Egress<H, M> eg,
                       ComputeChecksum<H, M> ck, Deparser<H> dep);
"""

# Extern functions and constructs that exist in v1model and are refused by name with a reason.
REFUSED = {
    "clone": "packet replication by clone is not modelled",
    "clone3": "packet replication by clone is not modelled",
    "clone_preserving_field_list": "packet replication by clone is not modelled",
    "resubmit": "resubmit is not modelled",
    "resubmit_preserving_field_list": "resubmit is not modelled",
    "recirculate": "recirculate is not modelled",
    "recirculate_preserving_field_list": "recirculate is not modelled",
    "action_profile": "table implementations are not modelled",
    "action_selector": "table implementations are not modelled",
    "Checksum16": "deprecated: use verify_checksum and update_checksum",
}


def refusal(name: str) -> str:
    """What to add to "not declared" where the name exists in v1model but not here."""
    return f": {REFUSED[name]}" if name in REFUSED else ""
