"""The same storms on SQS, Pub/Sub and DynamoDB: ``tox -e chaos -- cloud``."""
