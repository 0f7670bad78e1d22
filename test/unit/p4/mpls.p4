// An MPLS label switch: a header stack parsed in a loop, labels pushed, swapped and popped.
#include <core.p4>
#include <v1model.p4>

#define MAX_LABELS 3
typedef bit<20> label_t;

error { TooManyLabels }

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
header mpls_t { label_t label; bit<3> tc; bit<1> bos; bit<8> ttl; }
struct headers_t { ethernet_t ethernet; mpls_t[MAX_LABELS] mpls; }
struct meta_t { bit<8> depth; }

parser Parser_(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x8847: label;
            default: accept;
        }
    }
    state label {
        verify(hdr.mpls.lastIndex != MAX_LABELS - 1, error.TooManyLabels);
        packet.extract(hdr.mpls.next);
        meta.depth = meta.depth + 1;
        transition select(hdr.mpls.last.bos) {
            1: accept;
            default: label;
        }
    }
}

control Verify(inout headers_t hdr, inout meta_t meta) { apply { } }

control Ingress_(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) {
    action drop() { mark_to_drop(sm); }
    action forward(bit<9> port) { sm.egress_spec = port; }
    action swap(label_t label, bit<9> port) {
        hdr.mpls[0].label = label;
        hdr.mpls[0].ttl = hdr.mpls[0].ttl - 1;
        forward(port);
    }
    action pop(bit<9> port) {
        if (hdr.mpls[0].bos == 1) {
            hdr.ethernet.type = 0x0800;
        }
        hdr.mpls.pop_front(1);
        forward(port);
    }
    action push(label_t label, bit<9> port) {
        hdr.mpls.push_front(1);
        hdr.mpls[0].setValid();
        hdr.mpls[0].label = label;
        hdr.mpls[0].tc = 0;
        hdr.mpls[0].ttl = 64;
        hdr.mpls[0].bos = 0;
        if (!hdr.mpls[1].isValid()) {
            hdr.mpls[0].bos = 1;
            hdr.ethernet.type = 0x8847;
        }
        forward(port);
    }
    table labels {
        key = { hdr.mpls[0].label: exact; }
        actions = { swap; pop; push; drop; }
        default_action = drop;
    }
    table encapsulate {
        key = { hdr.ethernet.dst: exact; }
        actions = { push; drop; }
        default_action = drop;
    }
    apply {
        if (sm.parser_error != error.NoError) {
            drop();
        } else if (hdr.mpls[0].isValid()) {
            labels.apply();
        } else {
            encapsulate.apply();
        }
    }
}
control Egress_(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t sm) { apply { } }
control Compute(inout headers_t hdr, inout meta_t meta) { apply { } }
control Deparser_(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.mpls);
    }
}
V1Switch(Parser_(), Verify(), Ingress_(), Egress_(), Compute(), Deparser_()) main;
