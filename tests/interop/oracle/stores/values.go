package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gearmesh/oracle/protocol"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// typed gives the value that a task has returned, from the JSON of its result.
func typed(result *Result) (any, error) {
	kind, isSlice, known := protocol.KindOf(result.Type)
	if !known {
		return nil, fmt.Errorf("%s is not one of supported types", result.Type)
	}
	if isSlice {
		kind = reflect.SliceOf(kind)
	}
	found := reflect.New(kind)
	if err := json.Unmarshal(result.Value, found.Interface()); err != nil {
		return nil, err
	}
	return found.Elem().Interface(), nil
}

// read gives the JSON of a stored value as its type has it; of one that is not of its type, the JSON that it is.
func read(name string, value any) json.RawMessage {
	kind, isSlice, known := protocol.KindOf(name)
	if known {
		var found reflect.Value
		var ok bool
		if isSlice {
			found, ok = readSlice(kind, value)
		} else {
			found, ok = readScalar(kind, value)
		}
		if ok {
			if text, err := json.Marshal(found.Interface()); err == nil {
				return text
			}
		}
	}
	text, err := json.Marshal(plain(value))
	if err != nil {
		panic(err)
	}
	return text
}

func readSlice(kind reflect.Type, value any) (reflect.Value, bool) {
	slice := reflect.MakeSlice(reflect.SliceOf(kind), 0, 0)
	octets := []byte(nil)
	switch v := value.(type) {
	case nil:
		return reflect.Zero(reflect.SliceOf(kind)), true // a nil slice
	case string:
		coding := base64.StdEncoding
		if *plant == "base64" {
			coding = base64.URLEncoding
		}
		decoded, err := coding.DecodeString(v)
		if err != nil || !protocol.Unsigned(kind) {
			return slice, false
		}
		octets = decoded
	case primitive.Binary:
		octets = v.Data
	case []byte:
		octets = v
	case primitive.A:
		for _, each := range v {
			element, ok := readScalar(kind, each)
			if !ok {
				return slice, false
			}
			slice = reflect.Append(slice, element)
		}
		return slice, true
	default:
		return slice, false
	}
	for _, octet := range octets {
		element, ok := readScalar(kind, int64(octet))
		if !ok {
			return slice, false
		}
		slice = reflect.Append(slice, element)
	}
	return slice, true
}

func readScalar(kind reflect.Type, value any) (reflect.Value, bool) {
	found := reflect.New(kind).Elem()
	switch kind.Kind() {
	case reflect.Bool:
		v, ok := value.(bool)
		found.SetBool(v)
		return found, ok
	case reflect.String:
		v, ok := value.(string)
		found.SetString(v)
		return found, ok
	case reflect.Float32, reflect.Float64:
		number, ok := float(value)
		ok = ok && !math.IsNaN(number) && !math.IsInf(number, 0) && !found.OverflowFloat(number)
		found.SetFloat(number)
		return found, ok
	}
	text, ok := whole(value)
	if !ok {
		return found, false
	}
	if protocol.Unsigned(kind) {
		number, err := strconv.ParseUint(text, 10, kind.Bits())
		found.SetUint(number)
		return found, err == nil
	}
	number, err := strconv.ParseInt(text, 10, kind.Bits())
	found.SetInt(number)
	return found, err == nil
}

// number is one of DynamoDB's, whose digits count.
type number string

func float(value any) (float64, bool) {
	switch v := value.(type) {
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case number:
		found, err := strconv.ParseFloat(string(v), 64)
		return found, err == nil
	}
	return 0, false
}

// whole gives the digits of an integer.
func whole(value any) (string, bool) {
	switch v := value.(type) {
	case int32:
		return strconv.FormatInt(int64(v), 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e30 {
			text := strconv.FormatFloat(v, 'f', 0, 64)
			return strings.Replace(text, "-0", "0", btoi(v == 0)), true
		}
	case number:
		return string(v), true
	}
	return "", false
}

func btoi(value bool) int {
	if value {
		return 1
	}
	return 0
}

// plain gives a value that encoding/json writes as the JSON it came from would be.
func plain(value any) any {
	switch v := value.(type) {
	case primitive.A:
		list := make([]any, len(v))
		for i, each := range v {
			list[i] = plain(each)
		}
		return list
	case bson.D:
		object := map[string]any{}
		for _, each := range v {
			object[each.Key] = plain(each.Value)
		}
		return object
	case primitive.Binary:
		return v.Data
	case primitive.DateTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case primitive.ObjectID:
		return v.Hex()
	case float64:
		if math.IsNaN(v) {
			return "nan"
		}
		if math.IsInf(v, 0) {
			return strings.TrimPrefix(strings.ToLower(fmt.Sprint(v)), "+")
		}
	case number:
		return json.Number(v)
	}
	return value
}
