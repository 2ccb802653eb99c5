module gearmesh/itemsoracle

go 1.22

require (
	gearmesh/oracle v0.0.0
	github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue v1.18.12
	github.com/aws/aws-sdk-go-v2/service/dynamodb v1.42.4
)

require (
	github.com/aws/aws-sdk-go-v2/service/dynamodbstreams v1.25.3 // indirect
	github.com/aws/smithy-go v1.22.2 // indirect
)

replace gearmesh/oracle => ../
