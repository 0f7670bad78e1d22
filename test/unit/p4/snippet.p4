// A frame for language tests: two 64-bit operands come in, the body computes hdr.res.r.
#include <core.p4>
#include <v1model.p4>

header in_t { bit<64> a; bit<64> b; }
header out_t { bit<64> r; }
header small_t { bit<8> x; bit<4> y; bit<4> z; }
header tall_t { bit<16> x; bit<16> y; }
header signed_t { int<8> x; int<8> y; bool p; bit<7> q; }
header opts_t { bit<8> n; varbit<32> data; int<8> s; bit<16> tail; }
header_union any_t { small_t small; tall_t tall; }
struct pair_t { bit<8> x; bit<8> y; }
struct headers_t { in_t in_; out_t res; small_t[3] stack; small_t small; tall_t tall; signed_t signed; any_t any; opts_t opts; }
struct meta_t { bit<8> m; pair_t p; }
/*TOP*/

parser P(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) { /*DECLARE*/
    state start {
        packet.extract(hdr.in_);
        /*PARSE*/
        transition accept;
    }
}
control V(inout headers_t hdr, inout meta_t meta) { apply { } }
control I(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    /*LOCAL*/
    apply {
        bit<64> a = hdr.in_.a;
        bit<64> b = hdr.in_.b;
        hdr.res.setValid();
        hdr.res.r = 0;
        sm.egress_spec = 1;
        /*BODY*/
    }
}
control E(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) { apply { /*EGRESS*/ } }
control C(inout headers_t hdr, inout meta_t meta) { apply { } }
control D(packet_out packet, in headers_t hdr) { apply { packet.emit(hdr.res); packet.emit(hdr.opts); /*EMIT*/ } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
