// Package protocol has the parts of docs/reference/protocol.md that all oracles know: states, groups and types.
//
// It is written from that page; none of it is Machinery's code.
package protocol

import (
	"reflect"
	"strings"
	"time"
)

// Result is one returned value (4.1).
type Result[V any] struct {
	Type  string
	Value V
}

// State is a task state (4.1).
type State[V any] struct {
	TaskUUID  string
	TaskName  string
	State     string
	Results   []*Result[V]
	Error     string
	CreatedAt time.Time
	TTL       int64
}

// Group is a group meta (4.6).
type Group struct {
	GroupUUID      string
	TaskUUIDs      []string
	ChordTriggered bool
	Lock           bool
	CreatedAt      time.Time
	TTL            int64
}

var kinds = map[string]reflect.Type{
	"bool": reflect.TypeOf(false), "string": reflect.TypeOf(""),
	"int": reflect.TypeOf(int(0)), "int8": reflect.TypeOf(int8(0)), "int16": reflect.TypeOf(int16(0)),
	"int32": reflect.TypeOf(int32(0)), "int64": reflect.TypeOf(int64(0)),
	"uint": reflect.TypeOf(uint(0)), "uint8": reflect.TypeOf(uint8(0)), "uint16": reflect.TypeOf(uint16(0)),
	"uint32": reflect.TypeOf(uint32(0)), "uint64": reflect.TypeOf(uint64(0)),
	"float32": reflect.TypeOf(float32(0)), "float64": reflect.TypeOf(float64(0)),
}

// KindOf gives the type with a name of section 3; for a slice that of its elements.
func KindOf(name string) (kind reflect.Type, isSlice bool, known bool) {
	element, isSlice := strings.CutPrefix(name, "[]")
	if isSlice && element == "byte" {
		element = "uint8"
	}
	kind, known = kinds[element]
	return kind, isSlice, known
}

// Unsigned says if a type is one of the unsigned integers.
func Unsigned(kind reflect.Type) bool {
	return kind.Kind() >= reflect.Uint && kind.Kind() <= reflect.Uint64
}
