// A port-based ACL: ternary, range and optional keys, priorities, constant entries, a direct counter, action_run.
#include <core.p4>
#include <v1model.p4>

const bit<8> PROTO_TCP = 6;
const bit<8> PROTO_UDP = 17;

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
header ipv4_t {
    bit<4> version; bit<4> ihl; bit<8> tos; bit<16> len; bit<16> id; bit<3> flags; bit<13> frag;
    bit<8> ttl; bit<8> proto; bit<16> csum; bit<32> src; bit<32> dst;
}
header ports_t { bit<16> src; bit<16> dst; }
struct headers_t { ethernet_t ethernet; ipv4_t ipv4; ports_t ports; }
struct meta_t { bit<1> denied; bit<8> verdict; }

parser P(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x0800: ipv4;
            default: accept;
        }
    }
    state ipv4 {
        packet.extract(hdr.ipv4);
        transition select(hdr.ipv4.frag, hdr.ipv4.ihl, hdr.ipv4.proto) {
            (0, 5, PROTO_TCP): ports;
            (0, 5, PROTO_UDP): ports;
            default: accept;
        }
    }
    state ports {
        packet.extract(hdr.ports);
        transition accept;
    }
}

control V(inout headers_t hdr, inout meta_t meta) { apply { } }

control AclIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    direct_counter(CounterType.packets_and_bytes) hits;

    action allow(bit<9> port) { sm.egress_spec = port; }
    action deny() { mark_to_drop(sm); meta.denied = 1; }
    action mirror(in bit<8> why, bit<9> port) { meta.verdict = why; sm.egress_spec = port; }

    table acl {
        key = {
            hdr.ipv4.src: ternary;
            hdr.ipv4.dst: ternary @name("destination");
            hdr.ports.dst: range;
            hdr.ipv4.proto: optional;
        }
        actions = { allow; deny; mirror(hdr.ipv4.proto); }
        const default_action = deny;
        counters = hits;
        size = 4;
    }
    table tos {
        key = { hdr.ipv4.tos[7:2]: exact; hdr.ports.isValid(): exact; }
        actions = { NoAction; deny; }
        const entries = {
            (46, true): deny();
            (46, false): NoAction();
        }
    }
    table well_known {
        key = { hdr.ports.dst: ternary; sm.ingress_port: range; }
        actions = { @tableonly allow; @defaultonly NoAction; }
        default_action = NoAction;
        const entries = {
            (0x0050 &&& 0xFFFF, 0 .. 7): allow(8);
            (_, 3): allow(9);
            (22, _): allow(10);
        }
    }
    apply {
        if (!hdr.ports.isValid()) {
            deny();
            return;
        }
        switch (acl.apply().action_run) {
            deny: { return; }
            mirror: { hdr.ipv4.tos = meta.verdict; }
            default: { }
        }
        if (tos.apply().hit) {
            exit;
        }
        if (well_known.apply().miss) {
            hdr.ipv4.ttl = hdr.ipv4.ttl |-| 100;
        }
    }
}

control AclEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    apply {
        if (sm.egress_port == sm.ingress_port) {
            mark_to_drop(sm);
        }
    }
}
control C(inout headers_t hdr, inout meta_t meta) { apply { } }
control D(packet_out packet, in headers_t hdr) { apply { packet.emit(hdr); } }

V1Switch(P(), V(), AclIngress(), AclEgress(), C(), D()) main;
