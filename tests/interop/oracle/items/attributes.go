package main

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Attribute is an attribute value as DynamoDB's API has it: one of its fields is set.
type Attribute struct {
	S    *string
	N    *string
	BOOL *bool
	NULL *bool
	B    []byte
	L    []Attribute
	M    map[string]Attribute
	SS   []string
	NS   []string
	BS   [][]byte
}

func sdkItem(given map[string]Attribute) map[string]types.AttributeValue {
	item := map[string]types.AttributeValue{}
	for name, each := range given {
		if *plant == "case" && name == strings.ToLower(name) {
			continue
		}
		item[name] = each.value()
	}
	return item
}

func (attribute Attribute) value() types.AttributeValue {
	switch {
	case attribute.S != nil:
		return &types.AttributeValueMemberS{Value: *attribute.S}
	case attribute.N != nil:
		return &types.AttributeValueMemberN{Value: *attribute.N}
	case attribute.BOOL != nil:
		return &types.AttributeValueMemberBOOL{Value: *attribute.BOOL}
	case attribute.B != nil:
		return &types.AttributeValueMemberB{Value: attribute.B}
	case attribute.L != nil:
		list := []types.AttributeValue{}
		for _, each := range attribute.L {
			list = append(list, each.value())
		}
		return &types.AttributeValueMemberL{Value: list}
	case attribute.M != nil:
		return &types.AttributeValueMemberM{Value: sdkItem(attribute.M)}
	case attribute.SS != nil:
		if *plant == "set" {
			return &types.AttributeValueMemberNULL{Value: true}
		}
		return &types.AttributeValueMemberSS{Value: attribute.SS}
	case attribute.NS != nil:
		return &types.AttributeValueMemberNS{Value: attribute.NS}
	case attribute.BS != nil:
		return &types.AttributeValueMemberBS{Value: attribute.BS}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}
