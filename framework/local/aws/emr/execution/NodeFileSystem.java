package emrjobs;

import java.io.IOException;
import java.lang.reflect.Field;
import java.net.URI;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme;

/** hdfs:// of a local node: a folder, shown under HDFS's scheme. */
public class NodeFileSystem extends ViewFileSystemOverloadScheme {
    public NodeFileSystem() throws IOException {}

    public void initialize(URI uri, Configuration conf) throws IOException {
        super.initialize(uri, conf);
        withoutEncryptionZones();
    }

    /** Of what lies in the root, Hadoop's own answer looks for owners at hdfs:// addresses on the machine's disk, and fails. */
    public FileStatus[] listStatus(Path folder) throws IOException {
        FileStatus[] found = super.listStatus(folder);
        if (folder.isRoot()) {
            for (int i = 0; i < found.length; i++) {
                found[i] = getFileStatus(found[i].getPath());
            }
        }
        return found;
    }

    /**
     * Hive takes what has the scheme hdfs for a DistributedFileSystem and asks it for encryption zones whenever it moves files into a
     * table, unless its shims believe that this Hadoop has none.
     */
    private static void withoutEncryptionZones() throws IOException {
        try {
            Field supported = Class.forName("org.apache.hadoop.hive.shims.Hadoop23Shims").getDeclaredField("hdfsEncryptionSupport");
            supported.setAccessible(true);
            supported.set(null, Boolean.FALSE);
        } catch (ClassNotFoundException e) {
            return; // a program without Hive
        } catch (NoClassDefFoundError e) {
            return; // or with a piece of it, as the hadoop command
        } catch (ReflectiveOperationException e) {
            throw new IOException("this is not the Hive that pyspark brings", e);
        }
    }
}
